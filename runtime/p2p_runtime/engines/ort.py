"""ONNX Runtime on the CPU as an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from p2p_runtime.errors import EngineError
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle

from .session import (
    ALLOW_SPINNING,
    ORT_ERRORS,
    SHARED_ARENA,
    first_line,
    make_arena,
    open_session,
    session_options,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OrtEngine"]


class OrtEngine:
    """A bundle in an ONNX Runtime session; several threads may call :meth:`infer` at a time."""

    device = "cpu"
    restarts = 0

    def __init__(
        self, bundle: ModelBundle, *, threads: int | None = None, allow_spinning: bool = True
    ) -> None:
        """Load a bundle.

        Args:
            bundle: the checked model file.
            threads: CPU threads inside an operator; None lets onnxruntime take all cores.
            allow_spinning: let idle threads spin. Faster at full load; for a paced stream it
                doubles the CPU time.

        Raises:
            BundleError: onnxruntime cannot load the file, or its inputs and outputs are not the
                contract's.
        """
        options = session_options(self.device)
        options.intra_op_num_threads = threads or 0
        make_arena()
        options.enable_mem_pattern = False  # it would keep one per worker
        options.add_session_config_entry(SHARED_ARENA, "1")
        options.add_session_config_entry(ALLOW_SPINNING, "1" if allow_spinning else "0")
        self._session: ort.InferenceSession | None = open_session(bundle, self.device, options)
        self._shape = (bundle.contract.height, bundle.contract.width, 3)
        self._run: Any = ort.RunOptions()
        self._run.log_severity_level = 4  # what goes wrong is raised

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, see :class:`p2p_runtime.engines.base.Engine`."""
        session = self._session
        if session is None:
            raise EngineError("the engine is closed")
        try:
            (images,) = session.run([OUTPUT_NAME], {INPUT_NAME: frames}, self._run)
        except ORT_ERRORS as error:
            raise EngineError(f"the model failed on {self.device}: {first_line(error)}") from error
        images = np.asarray(images)
        if images.shape != (len(frames), *self._shape) or images.dtype != np.uint8:
            raise EngineError(
                f"the model returned {images.shape} {images.dtype}, "
                f"not {(len(frames), *self._shape)} uint8"
            )
        return images

    def interrupt(self) -> None:
        """Let every :meth:`infer`, now and later, end with an error."""
        self._run.terminate = True

    def close(self) -> None:
        """Free the session and its memory."""
        self._session = None
