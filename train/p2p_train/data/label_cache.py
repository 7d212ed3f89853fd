"""Label maps that were fitted before, kept so that each is repaired only once."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.labels.palette import Palette

__all__ = ["LabelMemory"]

MOST_BYTES = 256 * 1024 * 1024
"""Of each process that decodes. A map of 286x286 px takes about 5 KB: room for 50,000."""

FASTEST = 1
"""zlib's level: labels have long runs, so more effort gains little."""


class LabelMemory:
    """Keeps label maps in exact palette colours, compressed; once it is full, it takes no more.

    Repairing a blurred label map costs twice as much as decoding its file; unpacking one costs next
    to nothing. Threads may use it side by side.

    Args:
        palette: the colours of all maps.
        most_bytes: how much it may hold.
    """

    def __init__(self, palette: Palette, most_bytes: int = MOST_BYTES) -> None:
        self._palette = palette
        self._room = most_bytes
        self._maps: dict[int, tuple[bytes, tuple[int, ...]]] = {}

    def keep(self, index: int, label: NDArray[np.uint8]) -> None:
        """Keep a pair's label map, (H, W, 3) uint8 BGR in exact colours, if there is room."""
        ids = self._palette.to_ids(label)
        packed = zlib.compress(ids.tobytes(), FASTEST)
        if len(packed) <= self._room:
            self._room -= len(packed)
            self._maps[index] = packed, ids.shape

    def recall(self, index: int) -> NDArray[np.uint8] | None:
        """Return a pair's label map as it was kept, or None."""
        if index not in self._maps:
            return None
        packed, shape = self._maps[index]
        ids = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)  # (H, W)
        return self._palette.paint(ids)
