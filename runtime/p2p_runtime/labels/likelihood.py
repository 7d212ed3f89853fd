"""What a label map shows of its classes, in BGR or in the planes of a codec.

A block is 2x2 px that share a chroma sample. It is sure when its four pixels lie near the same
class's colour; of a pixel in any other block it is known how bright it is, and which chroma lies
around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from .color_lut import (
    ID,
    NEAR_LEVELS,
    SURE,
    YCBCR_OF_BGR,
    ColorLut,
    colour_table,
    lookup,
    nearest_places,
    paint,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .yuv import ColorSpec, YuvFrame

__all__ = [
    "NO_CLASS",
    "BgrKey",
    "BgrLikelihood",
    "Likelihood",
    "Pixels",
    "YuvKey",
    "YuvLikelihood",
    "YuvPalette",
]

NO_CLASS = 255
"""Stands for the class of blocks that are not sure."""

LUMA_WEIGHT = 8.0
"""How much a squared level of luma counts against one of chroma: luma is seen at full size."""

SURE_LEVELS = np.array([12, 9, 9], np.float32)
"""A cell of planes is sure when the luma and chroma of its middle are at most this far from a
class's. Its corners are up to 4 levels of chroma further away: on the CamVid label video, 12 levels
of chroma, which are right for colours that are known exactly, leave a tenth more errors."""

_WEIGHTS = np.sqrt(np.array([LUMA_WEIGHT, 1, 1], np.float32))
_FEATURES_OF_BGR = YCBCR_OF_BGR * _WEIGHTS
_GLANCE_PX = 97
_REMAP_PX = 1024


@dataclass(frozen=True, slots=True)
class Pixels:
    """What is known of P pixels that have to be decided.

    Attributes:
        block: (P,) their blocks' places among the flattened blocks.
        nearest: (P,) uint8, the class whose colour is nearest to the pixel's.
        own: (3, P) float32, the pixel's weighted luma and chroma.
        around: (3, P) float32, the same luma, and the chroma interpolated between blocks.
        exact: (P,) pixels that have a class's very colour; None where storage leaves none exact.
    """

    block: NDArray[np.intp]
    nearest: NDArray[np.uint8]
    own: NDArray[np.float32]
    around: NDArray[np.float32]
    exact: NDArray[np.bool_] | None


class Likelihood(Protocol):
    """What a frame of H x W px shows, both even.

    Attributes:
        features: (3, 256) float32, by class, the weighted luma and chroma of its colour.
    """

    features: NDArray[np.float32]

    def confident_blocks(self) -> NDArray[np.uint8]:
        """Return the class of blocks that are sure, else ``NO_CLASS``: (H / 2, W / 2) uint8."""
        ...

    def look_at(
        self, row: NDArray[np.intp], column: NDArray[np.intp], block: NDArray[np.intp]
    ) -> Pixels:
        """Say what is known of P pixels: (P,) rows, columns, and places of their blocks."""
        ...


class BgrKey:
    """How classes look in BGR.

    Args:
        classes: (N,) uint8, the class indices that may come out.
        seen_bgr: (N, 3) uint8 BGR, the colour in which each of them is seen.
    """

    def __init__(self, classes: NDArray[np.uint8], seen_bgr: NDArray[np.uint8]) -> None:
        self.table = ColorLut(classes, seen_bgr)
        self.seen = np.zeros((256, 3), np.uint8)
        self.seen[classes] = seen_bgr
        self.features = _FEATURES_OF_BGR.T @ self.seen.T.astype(np.float32)  # (3, 256)
        self._colours = colour_table(self.seen)
        self._exact_colours = frozenset(map(tuple, seen_bgr.tolist()))

    def may_be_exact(self, frame: NDArray[np.uint8]) -> bool:
        """Tell from a few pixels whether to ask :meth:`exact_ids` of a frame is worth it."""
        few = frame[::_GLANCE_PX, ::_GLANCE_PX].reshape(-1, 3)
        return self._exact_colours.issuperset(map(tuple, few.tolist()))

    def exact_ids(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return the classes (h, w) uint8 of a frame that has no other than their very colours.

        Args:
            frame: (h, w, 3) uint8 BGR.

        Returns:
            None if a pixel has another colour.
        """
        ids = self.table.codes(frame).astype(np.uint8)
        return ids if np.array_equal(paint(self._colours, ids), frame) else None


class BgrLikelihood:
    """What a frame shows in BGR; see :class:`Likelihood`."""

    def __init__(self, frame: NDArray[np.uint8], key: BgrKey) -> None:
        """Look a frame up: (H, W, 3) uint8 BGR, H and W even."""
        self._frame, self._key = frame, key
        self._codes = key.table.codes(frame)
        self.features = key.features

    def confident_blocks(self) -> NDArray[np.uint8]:
        """Return the class of blocks that are sure, else ``NO_CLASS``: (H / 2, W / 2) uint8."""
        pairs = (self._codes & (ID | SURE)).view(np.uint32)  # (H, W / 2): two pixels each
        upper, lower = pairs[::2], pairs[1::2]
        left = upper & 0xFFFF
        same = (upper == lower) & (left == upper >> 16) & (left >= SURE)
        return left.astype(np.uint8) | _no_class_where(~same)

    def look_at(
        self, row: NDArray[np.intp], column: NDArray[np.intp], block: NDArray[np.intp]
    ) -> Pixels:
        """Say what is known of P pixels: (P,) rows, columns, and places of their blocks."""
        at = row * self._frame.shape[1] + column
        nearest = np.take(self._codes.ravel(), at).astype(np.uint8)
        colours = np.take(self._frame.reshape(-1, 3), at, axis=0)
        away = colours != np.take(self._key.seen, nearest, axis=0)
        exact = ~(away[:, 0] | away[:, 1] | away[:, 2])
        own = _FEATURES_OF_BGR.T @ colours.T.astype(np.float32)
        height, width = self._frame.shape[:2]
        means = cv2.resize(self._frame, (width >> 1, height >> 1), interpolation=cv2.INTER_AREA)
        around = _FEATURES_OF_BGR.T @ _between_blocks(means, row, column).T.astype(np.float32)
        around[0] = own[0]
        return Pixels(block, nearest, own, around, exact)


class YuvKey:
    """How classes look in a codec's planes.

    The nearest class is looked up for cells of 4 levels of luma and 8 of either chroma, which fit
    into 16 bits and a processor's cache.

    Attributes:
        nearest: (65536,) uint8, the class nearest to the middle of each cell.
        sure: (65536,) uint16, in the lower byte the class that each cell is sure of, else
            ``NO_CLASS``; in the upper the lightest luma that is sure of it with the same chroma.

    Args:
        classes: (N,) uint8, the class indices that may come out.
        seen_levels: (N, 3) BGR, the levels, unclipped, in which each of them is seen.
        storage: what the planes' levels mean.
    """

    def __init__(
        self, classes: NDArray[np.uint8], seen_levels: NDArray[np.float64], storage: ColorSpec
    ) -> None:
        scales = storage.scales().astype(np.float32)
        self.weights = _WEIGHTS / scales
        matrix, offset = storage.affine()
        stored = np.asarray(seen_levels @ matrix + offset, np.float32)
        self.features = np.zeros((3, 256), np.float32)
        self.features[:, classes] = (stored * self.weights).T
        middles = _middles_of_cells()
        nearest = nearest_places(storage.bgr(middles), np.asarray(seen_levels, np.float32))
        sure = (np.abs(middles - stored[nearest]) <= SURE_LEVELS * scales).all(axis=-1)
        self.nearest = np.asarray(classes[nearest], np.uint8)
        self.sure = _with_lightest(np.where(sure, self.nearest, NO_CLASS).astype(np.uint8))


class YuvLikelihood:
    """What a frame shows in a codec's planes; see :class:`Likelihood`."""

    def __init__(self, frame: YuvFrame, key: YuvKey) -> None:
        """Look a frame up; its height and width are even."""
        self._frame, self._key = frame, key
        self.features = key.features
        self._chroma = _side_by_side(frame.cb, frame.cr)

    def confident_blocks(self) -> NDArray[np.uint8]:
        """Return the class of blocks that are sure, else ``NO_CLASS``: (H / 2, W / 2) uint8."""
        luma = self._frame.luma
        darker, lighter = cv2.min(luma[::2], luma[1::2]), cv2.max(luma[::2], luma[1::2])
        darkest = np.minimum(*_lower_and_upper(darker.view("<u2"))).astype(np.uint8)
        lightest = np.maximum(*_lower_and_upper(lighter.view("<u2")))
        found = lookup(self._key.sure, _cells(darkest, self._chroma))
        classes, lightest_sure = _lower_and_upper(found)
        return classes.astype(np.uint8) | _no_class_where(lightest > lightest_sure)

    def look_at(
        self, row: NDArray[np.intp], column: NDArray[np.intp], block: NDArray[np.intp]
    ) -> Pixels:
        """Say what is known of P pixels: (P,) rows, columns, and places of their blocks."""
        frame, key = self._frame, self._key
        luma = frame.luma[row, column]
        both = np.take(self._chroma.ravel(), block)
        cr, cb = _lower_and_upper(both)
        samples = self._chroma.view(np.uint8).reshape(*self._chroma.shape, 2)  # Cr, Cb
        mixed = _between_blocks(samples, row, column)
        own, around = np.empty((2, 3, block.size), np.float32)
        seen: list[tuple[NDArray[Any], NDArray[Any]]]
        seen = [(luma, luma), (cb, mixed[:, 1]), (cr, mixed[:, 0])]
        for place, (pixels, between) in enumerate(seen):
            np.multiply(pixels, key.weights[place], out=own[place])
            np.multiply(between, key.weights[place], out=around[place])
        nearest = lookup(key.nearest, _cells(luma, both))
        return Pixels(block, nearest, own, around, None)


class YuvPalette:
    """Tells what lies near any of a palette's colours, in a codec's planes.

    Args:
        seen_levels: (N, 3) BGR, the levels, unclipped, in which each colour is seen.
        storage: what the planes' levels mean.
    """

    def __init__(self, seen_levels: NDArray[np.float64], storage: ColorSpec) -> None:
        levels = np.asarray(seen_levels, np.float32)
        middles = storage.bgr(_middles_of_cells())
        away = np.abs(middles - levels[nearest_places(middles, levels)])
        self._near = (away <= NEAR_LEVELS).all(axis=-1).view(np.uint8)

    def off(self, frame: YuvFrame, every_px: int) -> float:
        """Return the share (0-1) of pixels that lie near none; see ``NEAR_LEVELS``.

        The middle of a pixel's cell speaks for it.
        """
        thin = frame.thinned(every_px, every_px)
        cells = _cells(thin.luma, _side_by_side(thin.cb, thin.cr))
        return 1 - cv2.countNonZero(lookup(self._near, cells)) / cells.size


def _no_class_where(doubtful: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return ``NO_CLASS``, all of whose bits are set, or 0."""
    return np.asarray(np.negative(doubtful.view(np.uint8)), np.uint8)


def _between_blocks(
    of_blocks: NDArray[Any], row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Interpolate linearly between blocks: (H / 2, W / 2, C) uint8 in, (P, C) uint8 out."""
    lines = -(-row.size // _REMAP_PX)  # remap takes no more pixels in a line
    x, y = np.zeros((2, lines, _REMAP_PX), np.float32)
    x.ravel()[: row.size], y.ravel()[: row.size] = column, row
    for along in (x, y):
        along -= 0.5
        along *= 0.5
    mixed = cv2.remap(of_blocks, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(mixed.reshape(-1, of_blocks.shape[2])[: row.size], np.uint8)


# A cell's 16 bits: 5 of Cb, 3 of luma, 5 of Cr, 3 of luma. So chroma needs no shifts.
_CHROMA_BITS = np.uint16(0xF8F8)
_CELL_OF_LUMA = np.array([(y >> 5) << 8 | (y >> 2) & 7 for y in range(256)], np.uint16)


def _side_by_side(cb: NDArray[np.uint8], cr: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return Cr in the lower byte, which lies first in memory, and Cb in the upper."""
    both: NDArray[np.uint16] = cb.astype("<u2", order="C")
    both <<= 8
    both |= cr
    return both


def _cells(luma: NDArray[np.uint8], chroma: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the cells of luma and of chroma side by side, of one shape."""
    return (chroma & _CHROMA_BITS) | lookup(_CELL_OF_LUMA, luma)


def _lower_and_upper(pairs: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the lower and the upper bytes of 16 bits."""
    return pairs & np.uint16(0xFF), pairs >> np.uint16(8)


def _with_lightest(sure: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Add to the class of each cell, (65536,), the lightest luma of that class and that chroma.

    What is sure of a class is convex, so all luma up to there is.
    """
    # (32 of Cb, 8 of luma, 32 of Cr, 8 of luma) -> (luma, chroma)
    by_luma = sure.reshape(32, 8, 32, 8).transpose(1, 3, 0, 2).reshape(64, -1)
    lightest = np.empty_like(by_luma)
    lightest[63] = 255
    for luma in range(62, -1, -1):
        same = by_luma[luma] == by_luma[luma + 1]
        lightest[luma] = np.where(same, lightest[luma + 1], 4 * luma + 3)
    by_cell = lightest.reshape(8, 8, 32, 32).transpose(2, 0, 3, 1).reshape(-1)
    return np.asarray(sure | by_cell.astype(np.uint16) << 8, np.uint16)


def _middles_of_cells() -> NDArray[np.float32]:
    """Return the middle of each cell, (65536, 3) levels of luma, Cb, Cr."""
    cells = np.arange(1 << 16)
    luma = (cells >> 8 & 7) << 5 | (cells & 7) << 2
    return np.stack([luma + 1.5, (cells >> 8 & 0xF8) + 3.5, (cells & 0xF8) + 3.5], axis=-1).astype(
        np.float32
    )
