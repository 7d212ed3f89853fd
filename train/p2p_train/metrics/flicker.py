"""Flicker: the change from frame to frame where the label does not change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Flicker"]


class Flicker:
    """The mean absolute change from frame to frame of pixels that keep their label.

    Camera motion along a wall changes the wall's pixels, too. So the number means something only
    beside that of the real clip.
    """

    def __init__(self) -> None:
        self._previous: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._sum = 0.0
        self._pixels = 0

    def add(self, label: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Add the next frame: label and image, (H, W, 3) uint8 BGR, the label without noise."""
        if self._previous is not None:
            same = (label == self._previous[0]).all(axis=-1)  # (H, W)
            change = image[same].astype(np.int16) - self._previous[1][same]
            self._sum += float(np.abs(change).sum()) / 3
            self._pixels += int(same.sum())
        self._previous = label, image

    def levels(self) -> float | None:
        """Return the mean change in levels, 0-255; None if no pixel kept its label."""
        return self._sum / self._pixels if self._pixels else None
