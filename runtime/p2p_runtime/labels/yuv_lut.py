"""Colour lookup tables for YUV frames: classes by cells of 4 levels of luma and 8 of chroma.

A cell's index has 16 bits, so a table fits into a processor's cache. Chroma samples of a block are
kept as one 16-bit pair, Cb in the upper byte and Cr in the lower.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .color_lut import NEAR_LEVELS, apply_lut, nearest_colours
from .yuv import ColorSpec

__all__ = [
    "FEATURE_WEIGHTS", "NO_CLASS", "YuvLut", "cells_of", "chroma_pairs", "near_cells",
    "split_bytes",
]  # fmt: skip

NO_CLASS = 255
"""Class index of blocks that are not confident."""

FEATURE_WEIGHTS = np.sqrt(np.array([8, 1, 1], np.float32))
"""(3,): factors of full-range luma, Cb and Cr in the features of label repair.

A squared level of luma, which has full resolution, counts as much as 8 of chroma."""

CONFIDENT_LEVELS = np.array([12, 9, 9], np.float32)
"""Maximum distance in luma, Cb and Cr between a confident cell's centre and a class's colour.

A cell's corners are up to 4 levels of chroma further away."""

# Bits of a cell's index: 5 of Cb, 3 of luma, 5 of Cr, 3 of luma. So chroma needs no shifts.
_CHROMA_BITS = np.uint16(0xF8F8)
_LUMA_BITS = np.array([(y >> 5) << 8 | (y >> 2) & 7 for y in range(256)], np.uint16)


class YuvLut:
    """Tables of the class nearest to each cell and of the confident cells, and class features.

    They are those of (N,) uint8 classes with (N, 3) BGR, the unclipped levels of their colours.

    Attributes:
        weights: (3,) float32, factors from the frame's luma, Cb and Cr to features.
        features: (3, 256) float32, weighted luma and chroma of each class's colour.
        nearest: (65536,) uint8, the class nearest to the centre of each cell.
        confident: (65536,) uint16. Lower byte: the class of a confident cell, else ``NO_CLASS``.
            Upper byte: the highest luma up to which all cells of that chroma have the same.
    """

    def __init__(
        self, classes: NDArray[np.uint8], levels_bgr: NDArray[np.float64], spec: ColorSpec
    ) -> None:
        matrix, offset = spec.bgr_to_yuv()
        colours = np.asarray(levels_bgr @ matrix + offset, np.float32)  # (N, 3) of the frame
        scales = spec.scales().astype(np.float32)
        self.weights = FEATURE_WEIGHTS / scales
        self.features = np.zeros((3, 256), np.float32)
        self.features[:, classes] = (colours * self.weights).T
        centres = _cell_centres()
        nearest = nearest_colours(spec.to_bgr(centres), np.asarray(levels_bgr, np.float32))
        distances = np.abs(centres - colours[nearest])
        confident = (distances <= CONFIDENT_LEVELS * scales).all(axis=-1)
        self.nearest = np.asarray(classes[nearest], np.uint8)
        confident_classes = np.where(confident, self.nearest, NO_CLASS)
        self.confident = _with_highest_luma(confident_classes.astype(np.uint8))


def near_cells(levels_bgr: NDArray[np.float64], spec: ColorSpec) -> NDArray[np.uint8]:
    """Return which cells are within ``NEAR_LEVELS`` of a colour: (65536,) uint8, 0 or 1.

    The colours are (N, 3) BGR, unclipped levels.
    """
    levels = np.asarray(levels_bgr, np.float32)
    centres = spec.to_bgr(_cell_centres())
    distances = np.abs(centres - levels[nearest_colours(centres, levels)])
    return np.asarray((distances <= NEAR_LEVELS).all(axis=-1), np.uint8)


def chroma_pairs(cb: NDArray[np.uint8], cr: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return both chroma samples as 16 bits: Cb in the upper byte, Cr in the lower."""
    pairs: NDArray[np.uint16] = cb.astype("<u2", order="C")
    pairs <<= 8
    pairs |= cr
    return pairs


def cells_of(luma: NDArray[np.uint8], chroma: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the cell of each pixel, from its luma and its chroma pair; all of one shape."""
    return (chroma & _CHROMA_BITS) | apply_lut(_LUMA_BITS, luma)


def split_bytes(pairs: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the lower and the upper bytes of 16 bits."""
    return pairs & np.uint16(0xFF), pairs >> np.uint16(8)


def _with_highest_luma(classes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Add to each cell's class (65536,) the highest luma up to which that class continues.

    The confident cells of a class are convex, so all cells in between have the class, too.
    """
    # (32 of Cb, 8 of luma, 32 of Cr, 8 of luma) -> (luma, chroma)
    by_luma = classes.reshape(32, 8, 32, 8).transpose(1, 3, 0, 2).reshape(64, -1)
    same = by_luma[:-1] == by_luma[1:]  # (63, chroma)
    last = np.where(same, 255, 4 * np.arange(63)[:, np.newaxis] + 3)
    highest = np.full_like(by_luma, 255)
    highest[:-1] = np.minimum.accumulate(last[::-1])[::-1]
    by_cell = highest.reshape(8, 8, 32, 32).transpose(2, 0, 3, 1).reshape(-1)
    return np.asarray(classes | by_cell.astype(np.uint16) << 8, np.uint16)


def _cell_centres() -> NDArray[np.float32]:
    """Return the centre of each cell, (65536, 3) levels of luma, Cb, Cr."""
    cells = np.arange(1 << 16)
    luma = (cells >> 8 & 7) << 5 | (cells & 7) << 2
    centres = [luma + 1.5, (cells >> 8 & 0xF8) + 3.5, (cells & 0xF8) + 3.5]
    return np.stack(centres, axis=-1).astype(np.float32)
