"""Which GPU this machine has, asked of NVIDIA's driver itself: no CUDA package is needed for it.

Not tested on hardware.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from p2p_runtime.errors import DeviceUnavailableError

__all__ = ["Gpu", "first_gpu"]

DRIVER = "libcuda.so.1"
MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """A GPU.

    Attributes:
        sm: its architecture, for example ``sm86``.
        driver: the CUDA version that its driver speaks, for example ``13.0``.
    """

    sm: str
    driver: str


def first_gpu() -> Gpu:
    """Return the GPU that a library takes when none is named.

    Raises:
        DeviceUnavailableError: there is no NVIDIA GPU or no driver.
    """
    try:
        cuda: Any = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise DeviceUnavailableError(f"no NVIDIA driver here ({error})") from error
    _require(cuda.cuInit(0), "cuInit")
    device = _integer(cuda.cuDeviceGet, 0)
    major, minor = (_integer(cuda.cuDeviceGetAttribute, key, device) for key in (MAJOR, MINOR))
    version = _integer(cuda.cuDriverGetVersion)  # 13000 is 13.0
    return Gpu(sm=f"sm{major}{minor}", driver=f"{version // 1000}.{version % 1000 // 10}")


def _integer(function: Any, *arguments: int) -> int:
    """Call a function of the driver that writes one integer to its first argument."""
    result = ctypes.c_int()
    _require(function(ctypes.byref(result), *arguments), getattr(function, "__name__", "a call"))
    return result.value


def _require(status: int, name: str) -> None:
    if status:
        raise DeviceUnavailableError(f"no usable NVIDIA GPU here ({name} answered {status})")
