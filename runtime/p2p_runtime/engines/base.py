"""The seam between frames and whatever runs the generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Engine"]


class Engine(Protocol):
    """Runs a generator on one device.

    Attributes:
        device: where it runs, as the user would type it: ``cpu``, ``cuda``, ``tensorrt``.
    """

    @property
    def device(self) -> str:
        """Where the generator runs."""
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

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards."""
        ...
