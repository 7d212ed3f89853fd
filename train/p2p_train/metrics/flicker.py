"""Flicker: how much a picture changes where its label says that nothing did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Flicker"]


class Flicker:
    """The mean absolute change from frame to frame where the label stayed the same.

    A camera that drives past a wall changes the wall's pixels too, so the number means something
    only beside that of the real clip: a generator may flicker as much as the world does.
    """

    def __init__(self) -> None:
        self._before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._levels = 0.0
        self._pixels = 0

    def add(self, label: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Take the next frame: label and image, (H, W, 3) uint8 BGR, the label without noise."""
        if self._before is not None:
            same = (label == self._before[0]).all(axis=-1)  # (H, W)
            change = image[same].astype(np.int16) - self._before[1][same]
            self._levels += float(np.abs(change).sum()) / 3
            self._pixels += int(same.sum())
        self._before = label, image

    def levels(self) -> float | None:
        """Return the change in levels, 0-255; None when no pixel kept its label."""
        return self._levels / self._pixels if self._pixels else None
