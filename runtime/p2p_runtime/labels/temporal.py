"""A temporal mode filter over label maps, against flicker."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["TemporalFilter"]


class TemporalFilter:
    """Gives each pixel its most frequent class over the last ``count`` label maps.

    A tie goes to the class that occurred last. Moving edges lag by half of the maps.
    """

    def __init__(self, count: int) -> None:
        self._maps: deque[NDArray[np.uint8]] = deque(maxlen=count)

    def __call__(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Take the newest map, (H, W) uint8 class indices, and return the filtered one."""
        self._maps.appendleft(ids)
        mode, highest = ids, np.zeros(ids.shape, np.uint8)
        for candidate in self._maps:
            counts = sum((candidate == other).view(np.uint8) for other in self._maps)
            mode = np.where(counts > highest, candidate, mode)
            highest = np.maximum(counts, highest)
        return mode
