"""A GPU without a GPU: NVIDIA's driver over host memory, and a TensorRT that inverts colours."""

from __future__ import annotations

import ctypes
import enum
from types import SimpleNamespace
from typing import Any

SHAPE = (-1, 64, 64, 3)


ANSWERS = {
    "cuDeviceGet": "device",
    "cuDeviceGetAttribute": "attribute",
    "cuDriverGetVersion": "version",
    "cuMemAlloc_v2": "allocate",
    "cuMemFree_v2": "free",
    "cuMemcpyHtoDAsync_v2": "upload",
    "cuMemcpyDtoHAsync_v2": "download",
}
"""NVIDIA's names, and ours; every other function succeeds and does nothing."""


class FakeDriver:
    """As much of libcuda as the runtime calls; "device memory" is the host's.

    Args:
        broken: the function that fails.
    """

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.buffers: dict[int, Any] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name == self.broken:
                return 100
            if name in ANSWERS:
                getattr(self, ANSWERS[name])(*arguments)
            return 0

        call.__name__ = name
        return call

    def device(self, result: Any, number: int) -> None:
        result._obj.value = number

    def attribute(self, result: Any, key: int, device: int) -> None:
        result._obj.value = {75: 8, 76: 7}[key]

    def version(self, result: Any) -> None:
        result._obj.value = 12060

    def allocate(self, result: Any, size: Any) -> None:
        buffer = ctypes.create_string_buffer(size.value)
        result._obj.value = ctypes.addressof(buffer)
        self.buffers[result._obj.value] = buffer

    def free(self, address: Any) -> None:
        del self.buffers[address.value]

    def upload(self, address: Any, source: Any, size: Any, stream: Any) -> None:
        ctypes.memmove(address.value, source.value, size.value)

    def download(self, target: Any, address: Any, size: Any, stream: Any) -> None:
        ctypes.memmove(target.value, address.value, size.value)


class DataType(enum.Enum):
    """As TensorRT names them."""

    UINT8 = "uint8"
    FLOAT = "float"


class Mode(enum.Enum):
    """As TensorRT names them."""

    INPUT = "in"
    OUTPUT = "out"


class FakeTensorRT:
    """A module of TensorRT 10 that runs any engine as ``image = 255 - frame``.

    Args:
        driver: holds the memory.
        ports: name -> (mode, type, shape), if not those of a bundle.
        runs: what a run answers.
    """

    __name__ = "tensorrt"
    __version__ = "10.3.0"
    DataType, TensorIOMode = DataType, Mode

    class ILogger:
        """What loggers must be derived from."""

        Severity = SimpleNamespace(WARNING=2)

    def __init__(
        self, driver: FakeDriver, ports: dict[str, Any] | None = None, runs: bool = True
    ) -> None:
        self.driver, self.runs = driver, runs
        self.ports = ports or {
            "frame": (Mode.INPUT, DataType.UINT8, SHAPE),
            "image": (Mode.OUTPUT, DataType.UINT8, SHAPE),
        }

    def Runtime(self, logger: Any) -> Any:  # noqa: N802 - TensorRT's name
        def deserialise(content: bytes) -> Any:
            names = list(self.ports)
            return SimpleNamespace(
                num_io_tensors=len(names),
                get_tensor_name=lambda index: names[index],
                get_tensor_mode=lambda name: self.ports[name][0],
                get_tensor_dtype=lambda name: self.ports[name][1],
                get_tensor_shape=lambda name: self.ports[name][2],
                create_execution_context=self._context,
            )

        return SimpleNamespace(
            deserialize_cuda_engine=lambda content: (
                deserialise(content) if content == b"engine" else None
            )
        )

    def _context(self) -> Any:
        bound: dict[str, int] = {}

        def execute(stream: int) -> bool:
            frame, image = (self.driver.buffers[bound[name]] for name in ("frame", "image"))
            image.raw = bytes(255 - level for level in frame.raw)
            return self.runs

        return SimpleNamespace(
            set_input_shape=lambda name, shape: True,
            set_tensor_address=bound.__setitem__,
            execute_async_v3=execute,
        )
