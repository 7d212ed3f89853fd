"""A TensorRT engine that ``p2p-export`` built, as an engine of the runtime.

It is executable code, so only what its manifest vouches for is loaded, for this library version
and this GPU; its inputs and outputs are compared with the contract. Not tested on hardware.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import BundleError, DeviceUnavailableError, EngineError
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle
from p2p_runtime.model.trt_manifest import EngineTarget, check_manifest, read_manifest

from .base import FrameByFrameEngine
from .gpu import GpuMemory, first_gpu

__all__ = ["TensorRTEngine"]

_log = logging.getLogger(__name__)


class TensorRTEngine(FrameByFrameEngine):
    """An engine file in TensorRT or TensorRT-RTX; see :class:`p2p_runtime.engines.base.Engine`."""

    device = "tensorrt"

    def __init__(self, bundle: ModelBundle, engine_path: Path) -> None:
        """Load an engine file, beside its manifest, onto the GPU; ``bundle`` is its ONNX file.

        Raises:
            BundleError: the manifest does not match, or the engine breaks the contract.
            DeviceUnavailableError: TensorRT or the GPU is missing.
        """
        library = read_manifest(engine_path).target.library
        trt = _load(library)
        gpu = first_gpu()
        here = EngineTarget(library=library, version=trt.__version__, sm=gpu.sm, driver=gpu.driver)
        content = check_manifest(engine_path, bundle.path, here)
        super().__init__((1, bundle.contract.height, bundle.contract.width, 3))
        self._memory: GpuMemory | None = GpuMemory()
        try:
            # The runtime must outlive the engine, and the engine its context.
            self._runtime = trt.Runtime(_logger(trt))
            self._engine = self._runtime.deserialize_cuda_engine(content)
            if self._engine is None:
                raise BundleError(f"{trt.__name__} {trt.__version__} does not load {engine_path}")
            _check_ports(trt, self._engine, self._shape, engine_path)
            self._context = self._engine.create_execution_context()
            self._context.set_input_shape(INPUT_NAME, self._shape)
            self._input = self._bind(INPUT_NAME, self._memory)
            self._output = self._bind(OUTPUT_NAME, self._memory)
            self._open = True
        except BaseException:
            self.close()
            raise

    def _bind(self, name: str, memory: GpuMemory) -> int:
        address = memory.allocate(int(np.prod(self._shape)))
        self._context.set_tensor_address(name, address)
        return address

    def _translate(self, frame: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        assert self._memory is not None, "the engine is open"
        self._memory.enter()
        self._memory.upload(self._input, frame)
        if not self._context.execute_async_v3(self._memory.stream):
            raise EngineError("the model failed on tensorrt; the log holds TensorRT's reason")
        self._memory.download(image, self._output)
        self._memory.wait()

    def close(self) -> None:
        """Free the engine and the GPU's memory."""
        with self._lock:
            self._open = False
            self._context = self._engine = self._runtime = None
            if self._memory is not None:
                self._memory.close()
            self._memory = None


def _load(library: str) -> Any:
    if library not in ("tensorrt", "tensorrt_rtx"):
        raise BundleError(f"an engine for {library!r} is not known")
    try:
        return importlib.import_module(library)
    except (ImportError, OSError) as error:
        extra = library.replace("_", "-")
        raise DeviceUnavailableError(
            f'{library} cannot be imported ({error}); type: pip install "pix2pix-edge[cpu,{extra}]"'
        ) from error


def _check_ports(trt: Any, engine: Any, shape: tuple[int, ...], engine_path: Path) -> None:
    """Compare an engine's inputs and outputs with the contract, before any memory is bound."""
    modes = {INPUT_NAME: trt.TensorIOMode.INPUT, OUTPUT_NAME: trt.TensorIOMode.OUTPUT}
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    for name in names:
        found = tuple(engine.get_tensor_shape(name))
        if (
            engine.get_tensor_mode(name) != modes.get(name)
            or engine.get_tensor_dtype(name) != trt.DataType.UINT8
            or found[1:] != shape[1:]
            or found[0] not in (-1, 1)
        ):
            raise BundleError(
                f"{engine_path} breaks its contract: {name} is {engine.get_tensor_dtype(name)} "
                f"{found}, not uint8 {shape} as {' or '.join(modes)}"
            )
    if sorted(names) != sorted(modes):
        raise BundleError(f"{engine_path} breaks its contract: it has {names}, not {list(modes)}")


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]  # trt is Any
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.WARNING):
                _log.warning("%s", message)

    return Logger()
