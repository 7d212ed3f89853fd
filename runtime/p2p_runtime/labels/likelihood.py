"""The likelihood of label repair: how well each class explains a pixel after a codec.

Codecs keep luma per pixel and chroma per block of 2x2 px. So a pixel has the feature vector
``x = (sqrt(8) luma, Cb, Cr)``, with luma of its own and chroma interpolated between the blocks; a
class has that of its colour, ``f``. The likelihood is Gaussian::

    -log p(x | class) = |x - f|^2 / LEVELS_PER_NAT + constant

A block is *confident* if its four pixels lie near the colour of the same class. Such blocks keep
their class and form the prior of the others, see :mod:`.repair`.
:class:`BgrLikelihood` and :class:`YuvLikelihood` extract both from a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .color_lut import CLASS_BITS, CONFIDENT, YCBCR_OF_BGR, ColorLut, apply_lut, paint, paint_lut
from .yuv import YuvFrame
from .yuv_lut import FEATURE_WEIGHTS, YuvLut, cells_of, chroma_pairs, split_bytes

__all__ = ["LEVELS_PER_NAT", "BgrAppearance", "BgrLikelihood", "Features", "YuvLikelihood"]

LEVELS_PER_NAT = 1200.0
"""Squared levels of distance that cost one nat, twice the variance of the Gaussian."""

_FEATURES_OF_BGR = YCBCR_OF_BGR * FEATURE_WEIGHTS
_SAMPLE_PX = 97
_REMAP_PX = 1024  # pixels per row given to ``cv2.remap``, which limits their number


@dataclass(frozen=True, slots=True)
class Features:
    """The features of P uncertain pixels.

    Attributes:
        block: (P,) index of each pixel's block among the flattened blocks.
        nearest: (P,) uint8, the class whose colour is nearest to the pixel's.
        own: (3, P) float32, weighted luma and chroma of the pixel itself.
        interpolated: (3, P) float32, the same luma, and the chroma interpolated between blocks.
        exact: (P,) bool, whether the pixel has exactly a class's colour; None in YUV.
    """

    block: NDArray[np.intp]
    nearest: NDArray[np.uint8]
    own: NDArray[np.float32]
    interpolated: NDArray[np.float32]
    exact: NDArray[np.bool_] | None


class BgrAppearance:
    """The classes that may come out, (N,) uint8, and their colours, (N, 3) uint8 BGR."""

    def __init__(self, classes: NDArray[np.uint8], colours_bgr: NDArray[np.uint8]) -> None:
        self.lut = ColorLut(classes, colours_bgr)
        self.colours = np.zeros((256, 3), np.uint8)  # by class
        self.colours[classes] = colours_bgr
        self.features = _FEATURES_OF_BGR.T @ self.colours.T.astype(np.float32)  # (3, 256)
        self._paint_lut = paint_lut(self.colours)
        self._exact_colours = frozenset(map(tuple, colours_bgr.tolist()))

    def may_be_exact(self, frame: NDArray[np.uint8]) -> bool:
        """Return whether a few sampled pixels have exact colours, so :meth:`exact_ids` may too."""
        few = frame[::_SAMPLE_PX, ::_SAMPLE_PX].reshape(-1, 3)
        return self._exact_colours.issuperset(map(tuple, few.tolist()))

    def exact_ids(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return the classes of a frame, (h, w, 3) uint8 BGR; None if a colour is not exact."""
        ids = self.lut.lookup(frame).astype(np.uint8)
        return ids if np.array_equal(paint(self._paint_lut, ids), frame) else None


class BgrLikelihood:
    """The likelihood of a BGR frame, (H, W, 3) uint8, H and W even.

    Attributes:
        class_features: (3, 256) float32, weighted luma and chroma of each class's colour.
    """

    def __init__(self, frame: NDArray[np.uint8], appearance: BgrAppearance) -> None:
        self._frame, self._appearance = frame, appearance
        self._entries = appearance.lut.lookup(frame)
        self.class_features = appearance.features

    def confident_blocks(self) -> NDArray[np.uint8]:
        """Return the class of confident blocks, else ``NO_CLASS``: (H / 2, W / 2) uint8."""
        pairs = (self._entries & (CLASS_BITS | CONFIDENT)).view(np.uint32)  # (H, W / 2): two px
        upper, lower = pairs[::2], pairs[1::2]
        left = upper & 0xFFFF
        same = (upper == lower) & (left == upper >> 16) & (left >= CONFIDENT)
        return left.astype(np.uint8) | _no_class_where(~same)

    def features(
        self, row: NDArray[np.intp], column: NDArray[np.intp], block: NDArray[np.intp]
    ) -> Features:
        """Return the features of P pixels, given their (P,) rows, columns and block indices."""
        at = row * self._frame.shape[1] + column
        nearest = np.take(self._entries.ravel(), at).astype(np.uint8)
        colours = np.take(self._frame.reshape(-1, 3), at, axis=0)
        differs = colours != np.take(self._appearance.colours, nearest, axis=0)
        exact = ~(differs[:, 0] | differs[:, 1] | differs[:, 2])
        own = _FEATURES_OF_BGR.T @ colours.T.astype(np.float32)
        height, width = self._frame.shape[:2]
        means = cv2.resize(self._frame, (width >> 1, height >> 1), interpolation=cv2.INTER_AREA)
        between = _interpolate_blocks(means, row, column)
        interpolated = _FEATURES_OF_BGR.T @ between.T.astype(np.float32)
        interpolated[0] = own[0]
        return Features(block, nearest, own, interpolated, exact)


class YuvLikelihood:
    """The likelihood of a YUV frame of even height and width; see :class:`BgrLikelihood`."""

    def __init__(self, frame: YuvFrame, lut: YuvLut) -> None:
        self._frame, self._lut = frame, lut
        self.class_features = lut.features
        self._chroma = chroma_pairs(frame.cb, frame.cr)  # (H / 2, W / 2)

    def confident_blocks(self) -> NDArray[np.uint8]:
        """Return the class of confident blocks, else ``NO_CLASS``: (H / 2, W / 2) uint8."""
        luma = self._frame.luma
        low, high = cv2.min(luma[::2], luma[1::2]), cv2.max(luma[::2], luma[1::2])  # (H / 2, W)
        lowest = np.minimum(*split_bytes(low.view("<u2"))).astype(np.uint8)  # (H / 2, W / 2)
        highest = np.maximum(*split_bytes(high.view("<u2")))
        found = apply_lut(self._lut.confident, cells_of(lowest, self._chroma))
        classes, highest_confident = split_bytes(found)
        return classes.astype(np.uint8) | _no_class_where(highest > highest_confident)

    def features(
        self, row: NDArray[np.intp], column: NDArray[np.intp], block: NDArray[np.intp]
    ) -> Features:
        """Return the features of P pixels, given their (P,) rows, columns and block indices."""
        luma = self._frame.luma[row, column]
        pairs = np.take(self._chroma.ravel(), block)
        cr, cb = split_bytes(pairs)
        samples = self._chroma.view(np.uint8).reshape(*self._chroma.shape, 2)  # Cr, Cb
        between = _interpolate_blocks(samples, row, column)
        own, interpolated = np.empty((2, 3, block.size), np.float32)
        at: tuple[NDArray[Any], ...] = luma, cb, cr
        around: tuple[NDArray[Any], ...] = luma, between[:, 1], between[:, 0]
        for channel, pixels in enumerate(at):
            np.multiply(pixels, self._lut.weights[channel], out=own[channel])
            np.multiply(around[channel], self._lut.weights[channel], out=interpolated[channel])
        nearest = apply_lut(self._lut.nearest, cells_of(luma, pairs))
        return Features(block, nearest, own, interpolated, None)


def _no_class_where(uncertain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return ``NO_CLASS``, which has all bits set, or 0."""
    return np.asarray(np.negative(uncertain.view(np.uint8)), np.uint8)


def _interpolate_blocks(
    blocks: NDArray[Any], row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Interpolate bilinearly between block centres: (H / 2, W / 2, C) uint8 to (P, C) uint8."""
    lines = -(-row.size // _REMAP_PX)
    x, y = np.zeros((2, lines, _REMAP_PX), np.float32)
    x.ravel()[: row.size], y.ravel()[: row.size] = column, row
    for axis in (x, y):
        axis -= 0.5
        axis *= 0.5
    mixed = cv2.remap(blocks, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(mixed.reshape(-1, blocks.shape[2])[: row.size], np.uint8)
