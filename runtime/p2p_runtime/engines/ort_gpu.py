"""ONNX Runtime on an NVIDIA GPU as an engine: its CUDA and its TensorRT provider.

Not tested on hardware. What a CPU can check is: the session is strict, frames go through bound
buffers whose addresses stay, and what comes back is a copy.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import shutil
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from p2p_runtime.documents import read_json
from p2p_runtime.errors import ContractError, DeviceUnavailableError, EngineError, OutputError
from p2p_runtime.files import sha256_of_file, write_text
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle

from .base import FrameByFrameEngine
from .gpu import first_gpu
from .ort import ORT_ERRORS, first_line, open_session, session_options

__all__ = ["OrtGpuEngine", "TrtCache", "tensorrt_version"]

LIBRARY = "libnvinfer.so.10"
"""What onnxruntime-gpu links; TensorRT 11 cannot take its place."""

SEAL = "seal.json"
"""Name of the list of what lies in a cache, with the digests."""

_log = logging.getLogger(__name__)


class OrtGpuEngine(FrameByFrameEngine):
    """A bundle on a GPU; see :class:`p2p_runtime.engines.base.Engine`.

    Shapes are static (one frame at a time), so the whole network is captured as one CUDA graph:
    a frame then costs one launch instead of one an operator.
    """

    def __init__(self, bundle: ModelBundle, *, device: str, graph: bool | None = None) -> None:
        """Load a bundle onto a GPU, by ``cuda`` or ``tensorrt``, and run it.

        TensorRT builds its engine now, which may take minutes, and keeps it for the next time. With
        ``graph`` None, the network is captured if it can be; it is said where it cannot.

        Raises:
            DeviceUnavailableError, BundleError: see :func:`p2p_runtime.engines.ort.open_session`.
            EngineError: it does not run.
        """
        super().__init__((1, bundle.contract.height, bundle.contract.width, 3))
        self.device = device
        cache = TrtCache(bundle) if device == "tensorrt" else None
        try:
            self._load(bundle, cache, graph=graph is not False)
        except EngineError as error:
            if graph is not None:
                raise
            _log.warning("%s: without a CUDA graph, which is slower: %s", device, error)
            self._load(bundle, cache, graph=False)
        self._open = True
        if cache is not None:
            cache.seal()

    def _load(self, bundle: ModelBundle, cache: TrtCache | None, *, graph: bool) -> None:
        """Open a session and run it twice: cuDNN tunes itself, the graph is captured, and used."""
        options = _provider_options(bundle, cache, graph=graph)
        self._session: Any = open_session(
            bundle, self.device, session_options(self.device), options
        )
        # One input and one output on the GPU, at addresses that a CUDA graph can rely on.
        shape = self._shape
        self._input: Any = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.uint8), "cuda", 0)
        self._output: Any = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, "cuda", 0)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(INPUT_NAME, self._input)
        self._binding.bind_ortvalue_output(OUTPUT_NAME, self._output)
        black = np.zeros(shape[1:], np.uint8)
        for _ in range(2):
            self._translate(black, np.empty_like(black))

    def _translate(self, frame: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        try:
            self._input.update_inplace(frame[np.newaxis])
            self._session.run_with_iobinding(self._binding)
            image[:] = self._output.numpy()[0]
        except ORT_ERRORS as error:
            raise EngineError(f"the model failed on {self.device}: {first_line(error)}") from error

    def close(self) -> None:
        """Free the session and the GPU's memory."""
        with self._lock:
            self._open = False
            self._session = self._binding = self._input = self._output = None


def _provider_options(bundle: ModelBundle, cache: TrtCache | None, graph: bool) -> dict[str, str]:
    if cache is None:
        return {"enable_cuda_graph": "1" if graph else "0"}
    shape = f"{INPUT_NAME}:1x{bundle.contract.height}x{bundle.contract.width}x3"
    # No trt_fp16_enable: precision lies in the ONNX file, so that what was proved is what runs.
    return {
        "trt_cuda_graph_enable": "1" if graph else "0",
        **{f"trt_profile_{bound}_shapes": shape for bound in ("min", "opt", "max")},
        **cache.provider_options(),
    }


class TrtCache:
    """Where the TensorRT provider keeps the engines that it builds.

    onnxruntime tells engines apart by the graph's structure alone: a cache that was filled by
    another model gives wrong pictures (onnxruntime#6455). So each model, library and GPU has its
    own folder. Engines are executable code, so only what was put there is loaded.

    Attributes:
        folder: ``.tensorrt/<digest>`` beside the model.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        """Find the folder, and remove it if anything in it is not what was sealed."""
        versions = [ort.__version__, tensorrt_version(), first_gpu().sm]
        facts = [bundle.info.payload_sha256, *versions, "static batch 1"]
        digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
        self.folder = bundle.path.parent / ".tensorrt" / digest
        if self.folder.exists() and not self._intact():
            _log.warning("%s was changed since it was written; building again", self.folder)
            shutil.rmtree(self.folder)

    def provider_options(self) -> dict[str, str]:
        """Return the TensorRT provider's options for this folder; none if it cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _log.warning("the engine is not kept, so every start builds it: %s", error)
            return {}
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(self.folder),
        }

    def seal(self) -> None:
        """Note the digest of every file, for the next time."""
        if not self.folder.is_dir():
            return
        try:
            write_text(self.folder / SEAL, json.dumps(self._digests(), indent=2, sort_keys=True))
        except OutputError as error:
            _log.warning("the engine is not kept, so every start builds it: %s", error)

    def _intact(self) -> bool:
        try:
            sealed = read_json(self.folder / SEAL)
        except ContractError:
            return False
        return bool(sealed == self._digests())

    def _digests(self) -> dict[str, str]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.name != SEAL)
        return {str(path.relative_to(self.folder)): sha256_of_file(path) for path in sorted(files)}


def tensorrt_version() -> str:
    """Return the version of the TensorRT that onnxruntime links, for example ``101600``.

    Without one, a DeviceUnavailableError is raised.
    """
    try:
        library: Any = ctypes.CDLL(LIBRARY)
        return str(library.getInferLibVersion())
    except (OSError, AttributeError) as error:
        raise DeviceUnavailableError(
            f"TensorRT 10 cannot be loaded ({error}); type: "
            'pip install "pix2pix-edge[gpu,tensorrt]"'
        ) from error
