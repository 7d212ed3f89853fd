"""The interface between frames and the library that runs the generator."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import EngineError

__all__ = ["Engine", "FrameByFrameEngine", "UninterruptibleEngine"]


class Engine(Protocol):
    """Runs a generator on one device."""

    @property
    def device(self) -> str:
        """Where the generator runs, as the user would type it: ``cpu``, ``cuda``, ``tensorrt``."""

    @property
    def restarts(self) -> int:
        """How often the model was opened again; 0 for an engine without supervision."""

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate a batch (N, H, W, 3) uint8 BGR, C-contiguous, of the contract's size.

        Raises:
            EngineError: the device or its library failed.
        """

    def interrupt(self) -> None:
        """Let every :meth:`infer`, now and later, end with an EngineError, if the library can.

        May be called from any thread. It does nothing where a running inference cannot be ended.
        """

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards."""


class UninterruptibleEngine:
    """Base of engines whose library can neither end a running inference nor restart itself."""

    restarts = 0

    def interrupt(self) -> None:
        """Do nothing."""


class FrameByFrameEngine(UninterruptibleEngine):
    """Base of engines with inputs of one ``shape``, (1, H, W, 3), from one thread at a time."""

    device: str

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self._shape = shape
        self._lock = threading.Lock()
        self._open = False

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, see :class:`Engine`."""
        if frames.shape[1:] != self._shape[1:] or frames.dtype != np.uint8:
            raise EngineError(
                f"the model takes {self._shape} uint8, not {frames.shape} {frames.dtype}"
            )
        images = np.empty(frames.shape, np.uint8)
        with self._lock:
            if not self._open:
                raise EngineError("the engine is closed")
            for frame, image in zip(np.ascontiguousarray(frames), images, strict=True):
                self._translate(frame, image)
        return images

    def _translate(self, frame: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Translate one frame (H, W, 3) uint8 BGR into ``image``; the lock is held."""
        raise NotImplementedError
