"""The interface between frames and the library that runs the generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Engine", "UninterruptibleEngine"]


class Engine(Protocol):
    """Runs a generator on one device.

    Attributes:
        device: where it runs, as the user would type it: ``cpu``, ``cuda``, ``tensorrt``.
        restarts: how often the model was opened again after a failure.
    """

    @property
    def device(self) -> str:
        """Where the generator runs."""
        ...

    @property
    def restarts(self) -> int:
        """How often the model was opened again; 0 for an engine without supervision."""
        ...

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate a batch.

        Args:
            frames: (N, H, W, 3) uint8 BGR, C-contiguous, of the contract's size.

        Returns:
            (N, H, W, 3) uint8 BGR.

        Raises:
            EngineError: the device or its library failed.
        """
        ...

    def interrupt(self) -> None:
        """Let every :meth:`infer`, now and later, end with an EngineError, if the library can.

        May be called from any thread. It does nothing where a running inference cannot be ended.
        """
        ...

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards."""
        ...


class UninterruptibleEngine:
    """Base of engines whose library can neither end a running inference nor restart itself."""

    restarts = 0

    def interrupt(self) -> None:
        """Do nothing."""
