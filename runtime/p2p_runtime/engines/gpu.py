"""NVIDIA's driver by itself, without a CUDA package: which GPU there is, and memory on it.

Not tested on hardware.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import DeviceUnavailableError, EngineError

__all__ = ["Gpu", "GpuMemory", "first_gpu"]

DRIVER = "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU: its architecture (``sm86``), and the CUDA version of its driver (``13.0``)."""

    sm: str
    driver: str


def first_gpu() -> Gpu:
    """Return the GPU that libraries take by default; raise a DeviceUnavailableError without one."""
    cuda = _driver()
    device = _integer(cuda.cuDeviceGet, 0)
    major, minor = (_integer(cuda.cuDeviceGetAttribute, key, device) for key in (MAJOR, MINOR))
    version = _integer(cuda.cuDriverGetVersion)  # 13000 is 13.0
    return Gpu(sm=f"sm{major}{minor}", driver=f"{version // 1000}.{version % 1000 // 10}")


class GpuMemory:
    """Buffers on the first GPU, and a stream that copies to and from them.

    Every thread that works with it calls :meth:`enter` first. The GPU's primary context is taken,
    which CUDA libraries share; without a GPU or driver, a DeviceUnavailableError is raised.
    """

    def __init__(self) -> None:
        self._cuda = _driver()
        self._device = _integer(self._cuda.cuDeviceGet, 0)
        self._context = ctypes.c_void_p()
        retain = self._cuda.cuDevicePrimaryCtxRetain
        _require(retain(ctypes.byref(self._context), self._device), "cuDevicePrimaryCtxRetain")
        self._buffers: list[int] = []
        self._closed = False
        self.enter()
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self.stream = stream.value or 0

    def enter(self) -> None:
        """Make the GPU that of the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Return the address of so many bytes on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        self._buffers.append(address.value)
        return address.value

    def upload(self, address: int, array: NDArray[np.uint8]) -> None:
        """Queue a copy of a C-contiguous array to the GPU."""
        source = ctypes.c_void_p(array.ctypes.data)
        self._copy("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, array.nbytes)

    def download(self, array: NDArray[np.uint8], address: int) -> None:
        """Queue a copy from the GPU into a C-contiguous array."""
        target = ctypes.c_void_p(array.ctypes.data)
        self._copy("cuMemcpyDtoHAsync_v2", target, ctypes.c_uint64(address), array.nbytes)

    def wait(self) -> None:
        """Wait until everything that was queued is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def close(self) -> None:
        """Free buffers, stream and context."""
        if self._closed:
            return
        self._closed = True
        self.enter()
        while self._buffers:
            self._call("cuMemFree_v2", ctypes.c_uint64(self._buffers.pop()))
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(self.stream))
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _copy(self, name: str, to: Any, source: Any, size: int) -> None:
        self._call(name, to, source, ctypes.c_size_t(size), ctypes.c_void_p(self.stream))

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._cuda, name)(*arguments):
            raise EngineError(f"the GPU failed ({name} answered {status})")


def _driver() -> Any:
    try:
        cuda: Any = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise DeviceUnavailableError(f"no NVIDIA driver here ({error})") from error
    _require(cuda.cuInit(0), "cuInit")
    return cuda


def _integer(function: Any, *arguments: int) -> int:
    """Call a function of the driver that writes one integer to its first argument."""
    result = ctypes.c_int()
    _require(function(ctypes.byref(result), *arguments), getattr(function, "__name__", "a call"))
    return result.value


def _require(status: int, name: str) -> None:
    if status:
        raise DeviceUnavailableError(f"no usable NVIDIA GPU here ({name} answered {status})")
