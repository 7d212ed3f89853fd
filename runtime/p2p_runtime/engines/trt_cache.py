"""Where ONNX Runtime's TensorRT provider keeps the engines that it builds.

An engine is executable code for one GPU and one TensorRT, and onnxruntime tells engines apart by
the graph's structure alone: a cache that was filled by another model gives wrong pictures
(onnxruntime#6455). So each model, library and GPU has a folder of its own, named by a digest of
all of them, and what lies in it is loaded only if it is what was put there.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from p2p_runtime.errors import DeviceUnavailableError, OutputError
from p2p_runtime.files import sha256_of_file, write_text

from .gpu import first_gpu

if TYPE_CHECKING:
    from p2p_runtime.model.bundle import ModelBundle

__all__ = ["TrtCache", "tensorrt_version"]

LIBRARY = "libnvinfer.so.10"
"""What onnxruntime-gpu links; TensorRT 11 cannot take its place."""

SEAL = "seal.json"

_log = logging.getLogger(__name__)


class TrtCache:
    """The folder for one model on this machine, ``.tensorrt/<digest>`` beside the model.

    Attributes:
        folder: where onnxruntime reads and writes engines.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        """Find the folder, and empty it if anything in it is not what was sealed.

        Raises:
            DeviceUnavailableError: there is no GPU or no TensorRT.
        """
        facts = [
            bundle.info.payload_sha256,
            ort.__version__,
            tensorrt_version(),
            first_gpu().sm,
            "static batch 1",
        ]
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
            sealed = json.loads((self.folder / SEAL).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return bool(sealed == self._digests())

    def _digests(self) -> dict[str, str]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.name != SEAL)
        return {str(path.relative_to(self.folder)): sha256_of_file(path) for path in sorted(files)}


def tensorrt_version() -> str:
    """Return the version of the TensorRT that onnxruntime links, for example ``101600``.

    Raises:
        DeviceUnavailableError: it is not installed.
    """
    try:
        library: Any = ctypes.CDLL(LIBRARY)
        return str(library.getInferLibVersion())
    except (OSError, AttributeError) as error:
        raise DeviceUnavailableError(
            f"TensorRT 10 cannot be loaded ({error}); type: "
            'pip install "pix2pix-edge[gpu,tensorrt]"'
        ) from error
