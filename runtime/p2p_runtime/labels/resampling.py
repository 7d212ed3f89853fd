"""Which pixels of a source frame a nearest-neighbour resize reads, and what lies around them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .yuv import YuvFrame

__all__ = ["Sampling", "resize_nearest", "sample"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a frame is shrunk or enlarged by nearest neighbour when 2x2 px blocks must stay whole.

    Attributes:
        rows_read, columns_read: the rows and columns of the source to work on, an even number;
            None for all of them.
        rows, columns: where, among those, the pixels of the result lie.
        block_rows, block_columns: where, among the blocks, those pixels lie.
    """

    rows_read: NDArray[np.intp] | None
    columns_read: NDArray[np.intp] | None
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    block_rows: NDArray[np.intp]
    block_columns: NDArray[np.intp]

    def read(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of a (H, W, 3) uint8 BGR frame to work on."""
        if self.rows_read is not None:
            frame = frame[self.rows_read]
        if self.columns_read is not None:
            frame = frame[:, self.columns_read]
        return frame

    def read_yuv(self, frame: YuvFrame) -> YuvFrame:
        """Return the part of a frame to work on, of an even height and width."""
        return frame.picked(self.rows_read, self.columns_read)

    def pick_of_blocks(self, of_blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return for each of the result's pixels what its block has, (H / 2, W / 2) in.

        Rows are picked three times as fast as columns, so both are picked as rows.
        """
        turned = np.take(cv2.transpose(of_blocks), self.block_columns, axis=0)
        return np.take(cv2.transpose(turned), self.block_rows, axis=0)


def resize_nearest(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a (H, W, 3) uint8 frame at another size in pixels; itself if it has that size."""
    if frame.shape[:2] == (height, width):
        return frame
    how = cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)


@lru_cache(maxsize=16)
def sample(height: int, width: int, to_height: int, to_width: int) -> Sampling:
    """Say what a nearest-neighbour resize to another size needs; sizes in pixels.

    Frames more than twice as large in a direction are read only where the result's pixels and
    their blocks lie, so the work depends on the result's size.
    """
    rows_read, rows = _axis(height, to_height)
    columns_read, columns = _axis(width, to_width)
    return Sampling(rows_read, columns_read, rows, columns, rows >> 1, columns >> 1)


def _axis(length: int, to_length: int) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
    places = np.arange(length, dtype=np.int32)[:, np.newaxis]
    chosen = cv2.resize(places, (1, to_length), interpolation=cv2.INTER_NEAREST_EXACT)
    picks = chosen.ravel().astype(np.intp)
    if length <= 2 * to_length:
        odd = np.minimum(np.arange(length + 1), length - 1)  # the last row or column twice
        return (odd if length % 2 else None), picks
    first = picks & ~1
    blocks = np.minimum(np.stack([first, first + 1], axis=1).ravel(), length - 1)
    return blocks, 2 * np.arange(to_length) + (picks & 1)
