"""ONNX Runtime on an NVIDIA GPU as an engine: its CUDA and its TensorRT provider.

Not tested on hardware. What a CPU can check is: the session is strict, frames go through bound
buffers whose addresses stay, and what comes back is a copy.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from p2p_runtime.errors import EngineError
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle

from .base import FrameByFrameEngine
from .session import ORT_ERRORS, first_line, open_session, session_options
from .trt_cache import TrtCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OrtGpuEngine"]

_log = logging.getLogger(__name__)


class OrtGpuEngine(FrameByFrameEngine):
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
        super().__init__((1, bundle.contract.height, bundle.contract.width, 3))
        self.device = device
        cache = TrtCache(bundle) if device == "tensorrt" else None
        try:
            self._buffers = self._load(bundle, cache, graph=graph is not False)
        except EngineError as error:
            if graph is not None:
                raise
            _log.warning("%s: without a CUDA graph, which is slower: %s", device, error)
            self._buffers = self._load(bundle, cache, graph=False)
        self._open = True
        if cache is not None:
            cache.seal()

    def _load(self, bundle: ModelBundle, cache: TrtCache | None, *, graph: bool) -> _Buffers | None:
        """Open a session and run it twice: cuDNN tunes itself, the graph is captured, and used."""
        options = _provider_options(bundle, cache, graph=graph)
        session = open_session(bundle, self.device, session_options(self.device), options)
        self._buffers = _Buffers(session, self._shape, memory="cuda")
        black = np.zeros(self._shape[1:], np.uint8)
        for _ in range(2):
            self._translate(black, np.empty_like(black))
        return self._buffers

    def _translate(self, frame: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        assert self._buffers is not None, "the engine is open"
        try:
            image[:] = self._buffers.run(frame[np.newaxis])[0]
        except ORT_ERRORS as error:
            raise EngineError(f"the model failed on {self.device}: {first_line(error)}") from error

    def close(self) -> None:
        """Free the session and the GPU's memory."""
        with self._lock:
            self._buffers, self._open = None, False


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
        self._input.update_inplace(frame)
        self._session.run_with_iobinding(self._binding)
        return np.asarray(self._output.numpy())


def _provider_options(
    bundle: ModelBundle, cache: TrtCache | None, *, graph: bool
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
