"""The palette colour behind each of the 2**24 colours, looked up and remembered."""

from __future__ import annotations

import mmap
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

from p2p_runtime.errors import MissingExtraError

from .yuv import ColorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ID",
    "NEAR",
    "NEAR_LEVELS",
    "SURE",
    "SURE_LEVELS",
    "YCBCR_OF_BGR",
    "ColorLut",
    "check_opencv",
    "colour_table",
    "lookup",
    "nearest_places",
    "paint",
]

Entry = TypeVar("Entry", np.uint8, np.uint16, np.float32, np.float64)

OPENCV_NEEDED = (4, 13)
"""The first version whose ``LUT`` takes places of 16 bits."""

NEAR_LEVELS = 31
"""A pixel belongs to a palette when its nearest colour is at most this far in every channel.

JPEG label maps of Cityscapes hold 92 % of their pixels within 31 levels of the true colour."""

SURE_LEVELS = 12
"""A colour is sure when its luma and both chroma are at most this far from the palette's.

Found on the CamVid label video: 8 leaves thin poles without sure pixels, 16 takes riders for
persons, whose colours are 17 levels of chroma apart."""

YCBCR_OF_BGR = np.asarray(ColorSpec("BT.601", "full").affine()[0], np.float32)
"""(3, 3): BGR rows times this are (luma, Cb, Cr), all in levels; ITU-T T.871, without offsets."""

ID = 0x00FF
"""Bits of a code that hold the class; the others are flags."""

SURE, NEAR, _MIXED, _KNOWN = 0x0100, 0x0200, 0x4000, 0x8000

_REACH = np.array([3.5, 1.5, 3.5], np.float32)
"""How far the colours of a cell of OpenCV's BGR565, 8x4x8 levels, lie from its middle."""

_NO_REACH = np.zeros(3, np.float32)
_AT_ONCE = 1 << 12

_LOW_BITS = np.array([7, 3, 7], np.uint8)
"""What tells the colours of a cell apart."""

_ROUNDING = 1e-2
"""In levels, and more than float32 errs by here: cells that come so near a limit are mixed."""


def check_opencv() -> None:
    """Make sure that :func:`lookup` works.

    Raises:
        MissingExtraError: OpenCV is too old.
    """
    if tuple(int(part) for part in cv2.__version__.split(".")[:2]) < OPENCV_NEEDED:
        needed = ".".join(map(str, OPENCV_NEEDED))
        raise MissingExtraError(
            f"label repair needs OpenCV {needed} or later, this is {cv2.__version__}; "
            f'type: pip install "opencv-python>={needed}"'
        )


class ColorLut:
    """Exact nearest colours, looked up once for each colour that comes along.

    Most colours of a label map lie near one of the palette's, where all the colours of a cell of
    8x4x8 levels have the same code. So a pixel is looked up in a table of 2**16 cells first, which
    a processor's cache holds. A mixed cell has a page of its 256 colours; pages lie side by side in
    the order in which they were needed, so that few of them take little memory. Two threads may
    fill the same entry; they write the same value.

    Args:
        classes: (N,) uint8 class indices.
        colours_bgr: (N, 3) uint8 BGR, the colour in which each of them is seen.
    """

    def __init__(self, classes: NDArray[np.uint8], colours_bgr: NDArray[np.uint8]) -> None:
        self._classes = classes.astype(np.uint16)
        self._colours = colours_bgr.astype(np.float32)
        self._of_cells = np.zeros(1 << 16, np.uint16)
        self._pages = np.zeros(1 << 16, np.int32)  # of a mixed cell, where its page begins
        self._cells = np.zeros(1 << 16, np.uint16)  # of a page, whose it is
        self._of_colours = _small_pages(1 << 24)
        self._pages_used = 0
        self._learning = threading.Lock()

    def codes(self, frame: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Look up a frame.

        Args:
            frame: (..., H, W, 3) uint8 BGR.

        Returns:
            (..., H, W) uint16: the class of the nearest colour in the bits ``ID``, and the flags
            ``SURE`` (within 12 levels in luma and chroma) and ``NEAR`` (within 31 levels in every
            channel). Nearest is the least squared distance in RGB; a tie goes to the class that
            stands first.
        """
        rows = np.ascontiguousarray(frame).reshape(-1, *frame.shape[-2:])  # OpenCV takes three axes
        cells = cv2.cvtColor(rows, cv2.COLOR_BGR2BGR565).view(np.uint16).ravel()
        codes = lookup(self._of_cells, cells)
        open_ = np.flatnonzero(codes < _KNOWN)
        if open_.size:
            found = np.take(codes, open_)
            if not found.all():
                self._learn_cells(_distinct(cells[open_[found == 0]]))
                found = np.take(self._of_cells, np.take(cells, open_), mode="clip")
            if (mixed := found < _KNOWN).any():
                at = open_[mixed]
                pixels = np.take(rows.reshape(-1, 3), at, axis=0)
                found[mixed] = self._of_pixels(pixels, np.take(cells, at))
            np.put(codes, open_, found)
        return codes.reshape(frame.shape[:-1])

    def _of_pixels(
        self, pixels: NDArray[np.uint8], cells: NDArray[np.uint16]
    ) -> NDArray[np.uint16]:
        """Look up (P, 3) uint8 BGR pixels of mixed cells (P,): (P,) codes."""
        low = pixels & _LOW_BITS
        within = low[:, 0] | low[:, 1] << 3 | low[:, 2] << 5  # (P,) 0-255
        places = np.take(self._pages, cells) + within
        codes = np.take(self._of_colours, places, mode="clip")
        if not codes.all():
            new = _distinct(places[codes == 0])
            levels = _corners(self._cells[new >> 8])
            levels += np.stack([new & 7, new >> 3 & 3, new >> 5 & 7], axis=-1)
            self._of_colours[new] = self._judge(levels, np.zeros(3, np.float32))
            codes = np.take(self._of_colours, places, mode="clip")
        return codes

    def _learn_cells(self, cells: NDArray[np.uint16]) -> None:
        codes = self._judge(_corners(cells) + _REACH, _REACH)
        with self._learning:
            mixed = cells[(codes == _MIXED) & (self._of_cells[cells] == 0)]
            pages = np.arange(self._pages_used, self._pages_used + mixed.size)
            self._pages_used += mixed.size
            self._cells[pages] = mixed
            self._pages[mixed] = pages << 8
            self._of_cells[cells] = codes

    def _judge(
        self, middles: NDArray[np.float32], reach: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        """Return the code that all colours around some middles share, or ``_MIXED``.

        Args:
            middles: (M, 3) BGR levels.
            reach: (3,) how far around them, in levels; 0 for colours that stand for themselves.
        """
        nearest, alone = _nearest(middles, self._colours, reach)
        away = middles - self._colours[nearest]
        near, partly_near = _within(np.abs(away), reach, NEAR_LEVELS)
        away, its_reach = away @ YCBCR_OF_BGR, reach @ np.abs(YCBCR_OF_BGR)
        sure, partly_sure = _within(np.abs(away), its_reach, SURE_LEVELS)
        codes = self._classes[nearest] | np.uint16(_KNOWN)
        codes[near] |= np.uint16(NEAR)
        codes[sure] |= np.uint16(SURE)
        if reach.any():
            codes[~alone | partly_sure | partly_near] = _MIXED
        return codes


def nearest_places(levels: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the place of the colour with the least squared distance, (M,) of (M, 3) and (N, 3)."""
    found = [
        _nearest(levels[first : first + _AT_ONCE], colours, _NO_REACH)[0]
        for first in range(0, len(levels), _AT_ONCE)
    ]
    return np.concatenate(found)


def lookup(table: NDArray[Entry], places: NDArray[Any]) -> NDArray[Entry]:
    """Return what a table of 256 or 65536 has at places of 8 or 16 bits.

    NumPy would turn the places into 64 bits first. Entries of 32 and 64 bits have to be floats for
    OpenCV; it copies their bits.
    """
    found: NDArray[Any] = cv2.LUT(places, table)
    return found.reshape(places.shape)  # OpenCV makes (P, 1) of (P,)


def colour_table(colours_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what :func:`paint` takes of (N, 3) uint8 BGR, N up to 256: the rest is black."""
    table = np.zeros((256, 4), np.uint8)
    table[: len(colours_bgr), :3] = colours_bgr
    return table.view(np.float32).ravel()


def paint(table: NDArray[np.float32], ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return indices (h, w) uint8 as (h, w, 3) uint8 BGR.

    Looked up four bytes at a time, pixels are painted twice as fast as by ``applyColorMap``, and
    seven times as fast as by ``np.take``.
    """
    bgra = lookup(table, ids).view(np.uint8).reshape(*ids.shape, 4)
    return np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2BGR), np.uint8)


def _small_pages(length: int) -> NDArray[np.uint16]:
    """Return zeros that take memory where they are written, 4 KiB at a time; NumPy's take 2 MiB.

    Raises:
        MemoryError: there is not even room for the addresses.
    """
    try:
        return np.frombuffer(mmap.mmap(-1, length * np.uint16().nbytes), np.uint16)
    except OSError as error:
        raise MemoryError(str(error)) from error


def _distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return what ``np.unique`` does; NumPy 2.4's, which hashes, takes ten times as long."""
    ordered = np.sort(values)
    first = np.ones(ordered.shape, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return np.asarray(ordered[first])


def _corners(cells: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the darkest colour of each cell: (M,) in, (M, 3) BGR levels out."""
    return np.stack([cells << 3 & 0xF8, cells >> 3 & 0xFC, cells >> 8 & 0xF8], axis=-1).astype(
        np.float32
    )


def _nearest(
    levels: NDArray[np.float32], colours: NDArray[np.float32], reach: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the index of the nearest colour, and whether it is nearest for all around it.

    The squared distances to two colours differ by a linear function of the place, which changes
    by twice the reach times the way from one to the other.

    Args:
        levels: (M, 3).
        colours: (N, 3).
        reach: (3,) how far around.

    Returns:
        (M,) and (M,).
    """
    # |x - c|^2 without |x|^2; float32 is exact for whole numbers of this size, and their halves
    squares = (colours**2).sum(axis=-1) - 2 * (levels @ colours.T)  # (M, N)
    nearest = np.asarray(squares.argmin(axis=-1), np.intp)
    if not reach.any():
        return nearest, np.ones(len(levels), bool)
    changes = 2 * (np.abs(colours[:, np.newaxis] - colours) @ reach)  # (N, N)
    lead = squares - np.take_along_axis(squares, nearest[:, np.newaxis], axis=-1)
    clear = lead > changes[nearest] + _ROUNDING  # (M, N)
    np.put_along_axis(clear, nearest[:, np.newaxis], values=True, axis=-1)
    return nearest, clear.all(axis=-1)


def _within(
    away: NDArray[np.float32], reach: NDArray[np.float32], limit: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which of (M, 3) distances are within a limit in each part, and which are so in part."""
    if not reach.any():
        inside = away.max(axis=-1) <= limit
        return inside, np.zeros_like(inside)
    inside = (away + reach).max(axis=-1) <= limit - _ROUNDING
    outside = (away - reach).max(axis=-1) > limit + _ROUNDING
    return inside, ~inside & ~outside
