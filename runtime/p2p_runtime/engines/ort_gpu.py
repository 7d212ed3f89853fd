"""ONNX Runtime on an NVIDIA GPU as an engine: its CUDA and its TensorRT provider.

Not tested on hardware. What a CPU can check is: the session is strict, frames go through bound
buffers whose addresses stay, and what comes back is a copy.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from p2p_runtime.errors import EngineError
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle

from .base import UninterruptibleEngine
from .session import ORT_ERRORS, first_line, open_session, session_options
from .trt_cache import TrtCache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["OrtGpuEngine"]

_log = logging.getLogger(__name__)


class OrtGpuEngine(UninterruptibleEngine):
    """A bundle on a GPU; see :class:`p2p_runtime.engines.base.Engine`.

    Shapes are static (one frame at a time), so the whole network is captured as one CUDA graph:
    a frame then costs one launch instead of one an operator.
    """

    def __init__(self, bundle: ModelBundle, *, device: str, graph: bool | None = None) -> None:
        """Load a bundle onto a GPU, and run it once.

        Args:
            bundle: the checked model file.
            device: ``cuda`` or ``tensorrt``. TensorRT builds its engine now, which may take
                minutes, and keeps it for the next time.
            graph: with a CUDA graph or without; None takes one where the network can be captured,
                and says so where it cannot.

        Raises:
            DeviceUnavailableError: the device is not there, or cannot run all of the model.
            BundleError: onnxruntime cannot load the file, or it breaks its contract.
            EngineError: it does not run.
        """
        self._device = device
        self._shape = (1, bundle.contract.height, bundle.contract.width, 3)
        self._lock = threading.Lock()
        cache = TrtCache(bundle) if device == "tensorrt" else None
        try:
            first = graph is not False
            self._buffers = self._open(
                bundle, _provider_options(bundle, device, cache, graph=first)
            )
        except EngineError as error:
            if graph is not None:
                raise
            _log.warning("%s: without a CUDA graph, which is slower: %s", device, error)
            self._buffers = self._open(
                bundle, _provider_options(bundle, device, cache, graph=False)
            )
        if cache is not None:
            cache.seal()

    def _open(self, bundle: ModelBundle, provider_options: Mapping[str, str]) -> _Buffers | None:
        """Open a session and run it twice: cuDNN tunes itself, the graph is captured, and used."""
        session = open_session(
            bundle, self._device, session_options(self._device), provider_options
        )
        buffers = _Buffers(session, self._shape, memory="cuda")
        black = np.zeros(self._shape, np.uint8)
        for _ in range(2):
            self._translate(buffers, black)
        return buffers

    @property
    def device(self) -> str:
        """``cuda`` or ``tensorrt``."""
        return self._device

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR into the same shape and type, frame by frame.

        Raises:
            EngineError: the engine is closed, the frames have another shape, or the GPU failed.
        """
        with self._lock:
            if self._buffers is None:
                raise EngineError("the engine is closed")
            buffers = self._buffers
            return np.concatenate([self._translate(buffers, frame[np.newaxis]) for frame in frames])

    def _translate(self, buffers: _Buffers, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise EngineError(
                f"the model takes {self._shape} uint8, not {frame.shape} {frame.dtype}"
            )
        try:
            return buffers.run(frame)
        except ORT_ERRORS as error:
            raise EngineError(f"the model failed on {self._device}: {first_line(error)}") from error

    def close(self) -> None:
        """Free the session and the GPU's memory."""
        with self._lock:
            self._buffers = None


class _Buffers:
    """One input and one output on a device, at addresses that a CUDA graph can rely on."""

    def __init__(
        self, session: ort.InferenceSession, shape: tuple[int, ...], *, memory: str
    ) -> None:
        self._session: Any = session
        self._input = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.uint8), memory, 0)
        self._output = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, memory, 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(INPUT_NAME, self._input)
        self._binding.bind_ortvalue_output(OUTPUT_NAME, self._output)

    def run(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._input.update_inplace(np.ascontiguousarray(frame))
        self._session.run_with_iobinding(self._binding)
        return np.array(self._output.numpy())  # a copy: the next frame goes to the same place


def _provider_options(
    bundle: ModelBundle, device: str, cache: TrtCache | None, *, graph: bool
) -> dict[str, str]:
    if cache is None:
        return {"enable_cuda_graph": "1" if graph else "0"}
    contract = bundle.contract
    shape = f"{INPUT_NAME}:1x{contract.height}x{contract.width}x3"
    # No trt_fp16_enable: precision lies in the ONNX file, so that what was proved is what runs.
    return {
        "trt_cuda_graph_enable": "1" if graph else "0",
        "trt_profile_min_shapes": shape,
        "trt_profile_opt_shapes": shape,
        "trt_profile_max_shapes": shape,
        **cache.provider_options(),
    }
