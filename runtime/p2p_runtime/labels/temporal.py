"""A vote of the last label maps, against flicker."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TemporalFilter"]


class TemporalFilter:
    """Gives each pixel the class that it had most often in the last ``count`` maps.

    A tie goes to the newest map in it. Edges that move come late by half of the maps.
    """

    def __init__(self, count: int) -> None:
        self._maps: deque[NDArray[np.uint8]] = deque(maxlen=count)

    def __call__(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Take the newest map (H, W) of class indices, and return the elected one."""
        self._maps.appendleft(ids)
        elected, most = ids, np.zeros(ids.shape, np.uint8)
        for candidate in self._maps:
            votes = sum((candidate == other).view(np.uint8) for other in self._maps)
            elected = np.where(votes > most, candidate, elected)
            most = np.maximum(votes, most)
        return elected
