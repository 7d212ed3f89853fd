"""Colour lookup tables: the palette class nearest to any 24-bit colour.

:class:`ColorLut` is filled as colours occur, since most of the 2**24 colours never do.
:func:`apply_lut` and :func:`paint` are the lookups that OpenCV does faster than NumPy.
"""

from __future__ import annotations

import mmap
import threading
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import MissingExtraError

from .yuv import ColorSpec

__all__ = [
    "CLASS_BITS", "CONFIDENT", "CONFIDENT_LEVELS", "NEAR", "NEAR_LEVELS", "YCBCR_OF_BGR",
    "ColorLut", "apply_lut", "check_opencv", "nearest_colours", "paint", "paint_lut",
]  # fmt: skip

Entry = TypeVar("Entry", np.uint8, np.uint16, np.float32, np.float64)

OPENCV_NEEDED = (4, 13)  # the first whose ``LUT`` takes 16-bit indices

NEAR_LEVELS = 31
"""Maximum distance per channel between a pixel and its nearest palette colour to be ``NEAR``.

In the JPEG label maps of Cityscapes, that holds for 92 % of the pixels."""

CONFIDENT_LEVELS = 12
"""Maximum distance in luma, Cb and Cr between a pixel and a palette colour to be ``CONFIDENT``.

With 8, thin poles of the CamVid video have no confident pixel; with 16, riders become persons."""

YCBCR_OF_BGR = np.asarray(ColorSpec("BT.601", "full").bgr_to_yuv()[0], np.float32)
"""(3, 3): ``bgr @ YCBCR_OF_BGR`` is (luma, Cb, Cr) in levels, without offsets; ITU-T T.871."""

CLASS_BITS, CONFIDENT, NEAR, _MIXED, _FILLED = 0x00FF, 0x0100, 0x0200, 0x4000, 0x8000
"""Bits of an entry that hold the class index, and flags."""

_HALF_CELL = np.array([3.5, 1.5, 3.5], np.float32)
"""Distance in levels from the centre of a BGR565 cell (8x4x8 levels) to its outermost colours."""

_IN_CELL_BITS = np.array([7, 3, 7], np.uint8)
"""Bits per channel that tell the colours of a cell apart."""

_POINT = np.zeros(3, np.float32)
_ROUNDING = 1e-2
"""Bound in levels on the float32 rounding errors; cells this close to a limit count as mixed."""


def check_opencv() -> None:
    """Raise a MissingExtraError if the installed OpenCV is too old for :func:`apply_lut`."""
    if tuple(map(int, cv2.__version__.split(".")[:2])) < OPENCV_NEEDED:
        needed = ".".join(map(str, OPENCV_NEEDED))
        raise MissingExtraError(
            f"label repair needs OpenCV {needed} or later, this is {cv2.__version__}; "
            f'type: pip install "opencv-python>={needed}"'
        )


class ColorLut:
    """An exact nearest-colour table over all 24-bit colours, filled on demand.

    The first level has an entry for each of the 2**16 cells of BGR565 (8x4x8 levels), small enough
    for a processor's cache. Cells whose colours differ are mixed: each gets a page with an entry
    for each of its 256 colours. Threads may fill the same entry at the same time, since they write
    the same value. Classes are (N,) uint8 indices, their colours (N, 3) uint8 BGR.
    """

    def __init__(self, classes: NDArray[np.uint8], colours_bgr: NDArray[np.uint8]) -> None:
        self._classes = classes.astype(np.uint16)
        self._colours = colours_bgr.astype(np.float32)
        self._cell_entries = np.zeros(1 << 16, np.uint16)
        self._page_entries = _sparse_zeros(1 << 24)
        self._page_start = np.zeros(1 << 16, np.int32)  # by mixed cell, into _page_entries
        self._page_cell = np.zeros(1 << 16, np.uint16)  # by page number
        self._page_count = 0
        self._filling = threading.Lock()

    def lookup(self, frame: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Look up every pixel of a frame: (..., H, W, 3) uint8 BGR to (..., H, W) uint16 entries.

        An entry holds, in ``CLASS_BITS``, the class with the least squared distance in BGR, the
        first one on a tie; and the flags ``CONFIDENT`` (within 12 levels in luma, Cb and Cr) and
        ``NEAR`` (within 31 levels in every channel of BGR).
        """
        rows = np.ascontiguousarray(frame).reshape(-1, *frame.shape[-2:])  # OpenCV takes three axes
        cells = cv2.cvtColor(rows, cv2.COLOR_BGR2BGR565).view(np.uint16).ravel()  # (P,)
        entries = apply_lut(self._cell_entries, cells)
        open_ = np.flatnonzero(entries < _FILLED)
        if open_.size:
            found = np.take(entries, open_)
            if not found.all():
                self._fill_cells(_sorted_unique(cells[open_[found == 0]]))
                found = np.take(self._cell_entries, np.take(cells, open_), mode="clip")
            if (mixed := found < _FILLED).any():
                at = open_[mixed]
                pixels = np.take(rows.reshape(-1, 3), at, axis=0)
                found[mixed] = self._lookup_pages(pixels, np.take(cells, at))
            np.put(entries, open_, found)
        return entries.reshape(frame.shape[:-1])

    def _lookup_pages(
        self, pixels: NDArray[np.uint8], cells: NDArray[np.uint16]
    ) -> NDArray[np.uint16]:
        """Look up (P, 3) uint8 BGR pixels of the mixed cells (P,): (P,) entries."""
        low = pixels & _IN_CELL_BITS
        within = low[:, 0] | low[:, 1] << 3 | low[:, 2] << 5  # (P,) 0-255
        indices = np.take(self._page_start, cells) + within
        entries = np.take(self._page_entries, indices, mode="clip")
        if not entries.all():
            new = _sorted_unique(indices[entries == 0])
            levels = _darkest_of_cells(self._page_cell[new >> 8])
            levels += np.stack([new & 7, new >> 3 & 3, new >> 5 & 7], axis=-1)
            self._page_entries[new] = self._entries_of(levels, _POINT)
            entries = np.take(self._page_entries, indices, mode="clip")
        return entries

    def _fill_cells(self, cells: NDArray[np.uint16]) -> None:
        entries = self._entries_of(_darkest_of_cells(cells) + _HALF_CELL, _HALF_CELL)
        with self._filling:
            mixed = cells[(entries == _MIXED) & (self._cell_entries[cells] == 0)]
            pages = np.arange(self._page_count, self._page_count + mixed.size)
            self._page_count += mixed.size
            self._page_cell[pages] = mixed
            self._page_start[mixed] = pages << 8
            self._cell_entries[cells] = entries

    def _entries_of(
        self, centres: NDArray[np.float32], half_size: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        """Return the entry that all colours of a box share, or ``_MIXED``: (M,)."""
        nearest, unique = _nearest_of_boxes(centres, self._colours, half_size)
        offset = centres - self._colours[nearest]
        near, partly_near = _within(np.abs(offset), half_size, NEAR_LEVELS)
        offset, half_size_yuv = offset @ YCBCR_OF_BGR, half_size @ np.abs(YCBCR_OF_BGR)
        confident, partly = _within(np.abs(offset), half_size_yuv, CONFIDENT_LEVELS)
        entries = self._classes[nearest] | np.uint16(_FILLED)
        entries[near] |= np.uint16(NEAR)
        entries[confident] |= np.uint16(CONFIDENT)
        if half_size.any():
            entries[~unique | partly | partly_near] = _MIXED
        return entries


def nearest_colours(levels: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return which of (N, 3) colours is nearest to each of (M, 3) levels: (M,) indices."""
    chunks = np.array_split(levels, -(-len(levels) // 4096))  # small enough for the cache
    return np.concatenate([_nearest_of_boxes(chunk, colours, _POINT)[0] for chunk in chunks])


def apply_lut(lut: NDArray[Entry], indices: NDArray[Any]) -> NDArray[Entry]:
    """Return ``lut[indices]`` for 256 entries and uint8 indices, or 65536 and uint16.

    NumPy would convert the indices to 64 bits first. OpenCV takes entries of 32 and 64 bits as
    floats only; it copies their bits.
    """
    found: NDArray[Any] = cv2.LUT(indices, lut)
    return found.reshape(indices.shape)  # OpenCV makes (P, 1) of (P,)


def paint_lut(colours_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the table for :func:`paint` from (N, 3) uint8 BGR, N <= 256; the rest is black."""
    table = np.zeros((256, 4), np.uint8)
    table[: len(colours_bgr), :3] = colours_bgr
    return table.view(np.float32).ravel()


def paint(lut: NDArray[np.float32], ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return class indices (H, W) uint8 as colours, (H, W, 3) uint8 BGR.

    Four bytes per lookup are twice as fast as ``applyColorMap``.
    """
    bgra = apply_lut(lut, ids).view(np.uint8).reshape(*ids.shape, 4)
    return np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR), np.uint8)


def _sparse_zeros(length: int) -> NDArray[np.uint16]:
    """Return zeros that occupy memory in units of 4 KiB once written; NumPy's take 2 MiB each."""
    try:
        return np.frombuffer(mmap.mmap(-1, length * np.uint16().nbytes), np.uint16)
    except OSError as error:
        raise MemoryError(str(error)) from error


def _sorted_unique(values: NDArray[Any]) -> NDArray[Any]:
    """Return what ``np.unique`` does; the hashing one of NumPy 2.4 takes ten times as long."""
    ordered = np.sort(values)
    first = np.ones(ordered.shape, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return np.asarray(ordered[first])


def _darkest_of_cells(cells: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the darkest colour of BGR565 cells (M,): (M, 3) BGR levels."""
    bgr = np.stack([cells << 3 & 0xF8, cells >> 3 & 0xFC, cells >> 8 & 0xF8], axis=-1)
    return bgr.astype(np.float32)


def _nearest_of_boxes(
    centres: NDArray[np.float32], colours: NDArray[np.float32], half_size: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the colour nearest to each box's centre, and whether the whole box agrees.

    The difference of the squared distances to two colours a and b is linear in the place. Within a
    box it differs from that at the centre by at most ``2 * half_size @ |a - b|``.

    From (M, 3) centres, (N, 3) colours and (3,) half the sides of a box, BGR levels, to (M,)
    indices and (M,) bool.
    """
    # |x - c|^2 without |x|^2; float32 is exact for whole numbers of this size, and their halves
    squares = (colours**2).sum(axis=-1) - 2 * (centres @ colours.T)  # (M, N)
    nearest = np.asarray(squares.argmin(axis=-1), np.intp)
    if not half_size.any():
        return nearest, np.ones(len(centres), bool)
    changes = 2 * (np.abs(colours[:, np.newaxis] - colours) @ half_size)  # (N, N)
    lead = squares - np.take_along_axis(squares, nearest[:, np.newaxis], axis=-1)
    clear = lead > changes[nearest] + _ROUNDING  # (M, N)
    np.put_along_axis(clear, nearest[:, np.newaxis], values=True, axis=-1)
    return nearest, clear.all(axis=-1)


def _within(
    distances: NDArray[np.float32], half_size: NDArray[np.float32], limit: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which boxes lie within a limit in all of (M, 3) distances, and which only partly."""
    if not half_size.any():
        inside = distances.max(axis=-1) <= limit
        return inside, np.zeros_like(inside)
    inside = (distances + half_size).max(axis=-1) <= limit - _ROUNDING
    outside = (distances - half_size).max(axis=-1) > limit + _ROUNDING
    return inside, ~inside & ~outside
