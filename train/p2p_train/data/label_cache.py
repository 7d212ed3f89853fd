"""Cache of preprocessed label maps, so that each is repaired only once."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from p2p_runtime.labels.palette import Palette

__all__ = ["LabelCache"]

MAX_BYTES = 256 * 1024 * 1024
"""Maximum size in each process that decodes: 50,000 maps of 286x286 px, at about 5 KB each."""

ZLIB_LEVEL = 1
"""Fastest level of compression; labels have long runs, so that more effort gains little."""


class LabelCache:
    """Holds label maps in exact palette colours, compressed; once full, it takes no more.

    Repairing a blurred label map costs twice as much as decoding its file; decompressing one costs
    next to nothing. Threads may share a cache.

    Args:
        palette: the colours of all maps.
        max_bytes: maximum size of the compressed maps.
    """

    def __init__(self, palette: Palette, max_bytes: int = MAX_BYTES) -> None:
        self._palette = palette
        self._free_bytes = max_bytes
        self._maps: dict[int, tuple[bytes, tuple[int, ...]]] = {}

    def put(self, index: int, label: NDArray[np.uint8]) -> None:
        """Add a pair's label map, (H, W, 3) uint8 BGR in exact colours, if there is room."""
        ids = self._palette.to_ids(label)
        packed = zlib.compress(ids.tobytes(), ZLIB_LEVEL)
        if len(packed) <= self._free_bytes:
            self._free_bytes -= len(packed)
            self._maps[index] = packed, ids.shape

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """Return a pair's label map, (H, W, 3) uint8 BGR, or None."""
        if index not in self._maps:
            return None
        packed, shape = self._maps[index]
        ids = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)  # (H, W)
        return self._palette.paint(ids)
