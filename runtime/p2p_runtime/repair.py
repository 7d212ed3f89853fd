"""Label repair: which class each pixel of a label map was before a codec blurred it.

Video codecs keep brightness at full resolution and colour at half of it, so along the edges of
regions a pixel's colour is a mix, and the palette colour nearest to the mix may be a third class's.
Pixels whose colour leaves doubt are therefore decided by Bayes' rule. How well does a class explain
the pixel: its luma, which counts more, and the chroma around it? And how likely is the class there
in the first place: how much of it is sure nearby, and in the whole frame?

``docs/label-repair.md`` says what that brings, and what was tried and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .nearest import ID, NEAR, SURE, YCBCR_OF_BGR, ColourTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LabelReader"]

LUMA_WEIGHT = 8.0
"""How much a squared level of luma counts against one of chroma: luma is seen at full size."""

LEVELS_PER_NAT = 1200.0
"""Weighted squared levels that outweigh a prior e times as high."""

RARE_SHARE = 3e-4
"""A class with a smaller share of sure blocks may be a mixture of others; its blocks are judged."""

FRAME_WEIGHT = 0.004
"""What the class's share of the whole frame adds to its share of the neighbourhood."""

LEAST_PRIOR = 1e-5
OWN_PRIOR = 0.002
"""Prior of the class nearest to a pixel's own colour, whatever lies around: small things live."""

_FEATURES_OF_BGR = YCBCR_OF_BGR * np.sqrt(np.array([LUMA_WEIGHT, 1, 1], np.float32))
_NO_CLASS = 255
_GLANCE_PX = 31
_REMAP_PX = 1024
_WINDOW_PX = 9 * 9  # two 3x3 windows, one after the other


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The 2x2 px blocks that share one chroma sample.

    Attributes:
        classes: (H / 2, W / 2) uint8, the class of blocks that are sure, else 255.
        shares: (256,) float32, each class's share (0-1) of all blocks.
        common: the classes that are no rarer than ``RARE_SHARE``.
    """

    classes: NDArray[np.uint8]
    shares: NDArray[np.float32]
    common: list[int]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """What is known of the P pixels that have to be decided.

    Attributes:
        block: (P,) their blocks' places among the flattened blocks.
        own: (P, 3) float32, the pixel's weighted luma and chroma.
        around: (P, 3) float32, the same luma, and the chroma interpolated between blocks.
    """

    block: NDArray[np.intp]
    own: NDArray[np.float32]
    around: NDArray[np.float32]


class LabelReader:
    """Reads class indices from label maps that went through a codec.

    Args:
        classes: (N,) uint8, the class indices that may come out.
        seen_bgr: (N, 3) uint8 BGR, the colour in which each of them is seen.
        more_bgr: (M, 3) uint8 BGR, the palette's other colours; they are not off the palette.
    """

    def __init__(
        self,
        classes: NDArray[np.uint8],
        seen_bgr: NDArray[np.uint8],
        more_bgr: NDArray[np.uint8] | None = None,
    ) -> None:
        self._table = self._whole_palette = ColourTable(classes, seen_bgr)
        if more_bgr is not None and len(more_bgr):
            whole = np.concatenate([seen_bgr, more_bgr])
            self._whole_palette = ColourTable(np.zeros(len(whole), np.uint8), whole)
        self._seen = np.zeros((256, 3), np.uint8)  # by class, as are the features
        self._seen[classes] = seen_bgr
        self._features = np.zeros((256, 3), np.float32)
        self._features[classes] = seen_bgr.astype(np.float32) @ _FEATURES_OF_BGR

    def off_palette(self, frame: NDArray[np.uint8]) -> float:
        """Return the share (0-1) of pixels further than 31 levels from every colour."""
        return float(((self._whole_palette.codes(frame) & NEAR) == 0).mean())

    def repaired_ids(
        self, frame: NDArray[np.uint8], wanted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Return each pixel's most likely class.

        Pixels that have the exact colour of a class keep it, so a lossless map stays as it is.

        Args:
            frame: (H, W, 3) uint8 BGR, H and W even, chroma samples covering 2x2 px from the
                top left corner.
            wanted: (H, W) pixels that matter; the others may get their nearest class.

        Returns:
            (H, W) uint8 class indices.
        """
        codes = self._table.codes(frame)
        ids = codes.astype(np.uint8)
        if self._are_exact(frame, ids):
            return ids
        blocks = _find_blocks(codes)
        doubts = _find_doubts(blocks, wanted, codes.shape)
        own = np.take(frame.reshape(-1, 3), doubts, axis=0)
        away = own != np.take(self._seen, np.take(ids, doubts), axis=0)
        inexact = np.flatnonzero(away[:, 0] | away[:, 1] | away[:, 2])
        doubts, own = np.take(doubts, inexact), np.take(own, inexact, axis=0)
        if blocks.common and doubts.size:
            pixels = _look_at(frame, doubts, own)
            np.put(ids, doubts, self._decide(pixels, blocks, np.take(ids, doubts)))
        return ids

    def _are_exact(self, frame: NDArray[np.uint8], ids: NDArray[np.uint8]) -> bool:
        """Say whether every pixel has its class's very colour; a few tell it of a lossy frame."""
        return all(
            np.array_equal(frame[::step, ::step], np.take(self._seen, ids[::step, ::step], axis=0))
            for step in (_GLANCE_PX, 1)
        )

    def _decide(
        self, pixels: _Pixels, blocks: _Blocks, own: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """Return the class of least cost of each pixel, (P,) uint8, as ``own``: the nearest ones.

        Costs are negative logarithms of probabilities, in nats.
        """
        costs = np.log(_priors(pixels, blocks))  # (C, P)
        np.subtract(_distances(self._features[blocks.common], pixels.around), costs, out=costs)
        best = costs.argmin(axis=0)
        least = np.take_along_axis(costs, best[np.newaxis], axis=0)[0]
        away = pixels.own - self._features[own]
        own_cost = np.einsum("pf,pf->p", away, away) / LEVELS_PER_NAT - np.log(OWN_PRIOR)
        return np.where(own_cost < least, own, np.array(blocks.common, np.uint8)[best])


def _find_blocks(codes: NDArray[np.uint16]) -> _Blocks:
    """Find the blocks whose four pixels are sure of the same class."""
    pairs = (codes & (ID | SURE)).view(np.uint32)  # (H, W / 2): two pixels each
    upper, lower = pairs[::2], pairs[1::2]
    left = upper & 0xFFFF
    same = (upper == lower) & (left == upper >> 16) & (left >= SURE)
    classes = np.where(same, left, _NO_CLASS).astype(np.uint8)
    counts = cv2.calcHist([classes], [0], None, [256], [0, 256]).ravel()
    shares = np.asarray(counts / classes.size, np.float32)
    common = [int(c) for c in np.flatnonzero(shares >= RARE_SHARE) if c != _NO_CLASS]
    return _Blocks(classes, shares, common)


def _find_doubts(
    blocks: _Blocks, wanted: NDArray[np.bool_] | None, shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """Return the places of doubtful pixels in a flattened frame of (height, width)."""
    height, width = shape
    rare = np.ones(256, np.uint8)
    rare[blocks.common] = 0
    of_blocks = cv2.LUT(blocks.classes, rare)
    doubtful = np.asarray(
        cv2.resize(of_blocks, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
    ).view(np.bool_)
    if wanted is not None:
        doubtful &= wanted
    return np.flatnonzero(doubtful)


def _look_at(frame: NDArray[np.uint8], at: NDArray[np.intp], colours: NDArray[np.uint8]) -> _Pixels:
    width = frame.shape[1]
    row, column = np.divmod(at, width)
    own = colours.astype(np.float32) @ _FEATURES_OF_BGR
    around = _between_blocks(frame, row, column) @ _FEATURES_OF_BGR
    around[:, 0] = own[:, 0]
    return _Pixels((row >> 1) * (width >> 1) + (column >> 1), own, around)


def _between_blocks(
    frame: NDArray[np.uint8], row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Interpolate linearly between the blocks' mean colours: (P, 3) float32 BGR."""
    height, width = frame.shape[:2]
    means = cv2.resize(frame, (width >> 1, height >> 1), interpolation=cv2.INTER_AREA)
    lines = -(-row.size // _REMAP_PX)  # remap takes no more pixels in a line
    x, y = (np.resize((i - 0.5) / 2, (lines, _REMAP_PX)).astype(np.float32) for i in (column, row))
    mixed = cv2.remap(means, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return mixed.reshape(-1, 3)[: row.size].astype(np.float32)


def _priors(pixels: _Pixels, blocks: _Blocks) -> NDArray[np.float32]:
    """Return how likely each common class is at each pixel, by its neighbourhood: (C, P)."""
    priors = np.empty((len(blocks.common), pixels.block.size), np.float32)
    for row, index in zip(priors, blocks.common, strict=True):
        count = (blocks.classes == index).view(np.uint8)
        for _ in range(2):
            count = cv2.boxFilter(count, cv2.CV_8U, (3, 3), normalize=False)
        np.multiply(np.take(count, pixels.block), np.float32(1 / _WINDOW_PX), out=row)
        row += FRAME_WEIGHT * blocks.shares[index] + LEAST_PRIOR
    return priors


def _distances(features: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return squared distances over ``LEVELS_PER_NAT``: (C, 3) and (P, 3) in, (C, P) out."""
    squares = features @ pixels.T
    squares *= -2
    squares += np.einsum("cf,cf->c", features, features)[:, np.newaxis]
    squares += np.einsum("pf,pf->p", pixels, pixels)
    squares /= LEVELS_PER_NAT
    return squares
