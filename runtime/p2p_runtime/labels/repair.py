"""Label repair: which class each pixel of a label map was before a codec blurred it.

Video codecs keep brightness at full resolution and colour at half of it, so along the edges of
regions a pixel's colour is a mix, and the palette colour nearest to the mix may be a third class's.
Pixels whose colour leaves doubt are therefore decided by Bayes' rule. How well does a class explain
the pixel: its luma, which counts more, and the chroma around it? And how likely is the class there
in the first place: how much of it is sure nearby, and in the whole frame?

What a frame shows of its classes depends on how it is stored, see :mod:`.likelihood`.
``docs/label-repair.md`` says what repair brings, and what was tried and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .color_lut import lookup
from .likelihood import NO_CLASS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .likelihood import Likelihood, Pixels
    from .resampling import Sampling

__all__ = ["repaired_ids"]

LEVELS_PER_NAT = 1200.0
"""Weighted squared levels that outweigh a prior e times as high."""

RARE_SHARE = 3e-4
"""A class with a smaller share of sure blocks may be a mixture of others; its blocks are judged."""

_ROWS = 45
"""About so many rows of blocks say how common the classes are; as good as all, and four times as
fast at 480x360 px."""

FRAME_WEIGHT = 0.004
"""What the class's share of the whole frame adds to its share of the neighbourhood."""

LEAST_PRIOR = 1e-5
OWN_PRIOR = 0.002
"""Prior of the class nearest to a pixel's own colour, whatever lies around: small things live."""

_SIDE = 5
"""The neighbourhood's, in blocks."""

_REACH = _SIDE // 2

_PLACE_BITS, _STEPS = 8, 4096
"""Costs are under 1000 nats, so they and a class's place fit into 32 bits."""

# A row of blocks counts to 5, so 4 bits hold it, and 64 bits the counts of 16 classes: the first
# eight in the lower halves of the bytes, the others in the upper.
_AT_ONCE = 16
_SHIFTS = np.array([8 * (place % 8) + 4 * (place // 8) for place in range(_AT_ONCE)], np.uint64)
_LOWER_HALVES = np.uint64(0x0F0F0F0F0F0F0F0F)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The 2x2 px blocks that share one chroma sample.

    Attributes:
        classes: (H / 2, W / 2) uint8, the class of blocks that are sure, else ``NO_CLASS``.
        common: (C,) uint8, the classes no rarer than ``RARE_SHARE``.
        shares: (C,) float32, their shares (0-1) of the blocks.
    """

    classes: NDArray[np.uint8]
    common: NDArray[np.uint8]
    shares: NDArray[np.float32]


def repaired_ids(evidence: Likelihood, sampling: Sampling) -> NDArray[np.uint8]:
    """Return each pixel's most likely class.

    Args:
        evidence: what the frame shows.
        sampling: which pixels of the frame are asked for.

    Returns:
        (h, w) uint8 class indices, as many as the sampling has rows and columns.
    """
    blocks = _common(evidence.confident_blocks())
    ids = sampling.pick_of_blocks(blocks.classes)
    doubts = np.flatnonzero(ids == NO_CLASS)
    if doubts.size:
        row, column = np.divmod(doubts, ids.shape[1])
        block = np.take(sampling.block_rows, row) * blocks.classes.shape[1]
        block += np.take(sampling.block_columns, column)
        row, column = np.take(sampling.rows, row), np.take(sampling.columns, column)
        pixels = evidence.look_at(row, column, block)
        np.put(ids, doubts, _decide(pixels, blocks, evidence.features))
    return ids


def _common(sure: NDArray[np.uint8]) -> _Blocks:
    """Take the blocks of rare classes out."""
    some = sure[:: max(1, len(sure) // _ROWS)]
    counts = cv2.calcHist([some], [0], None, [NO_CLASS], [0, NO_CLASS])  # exact: under 2^24
    shares = np.asarray(counts.ravel() / some.size, np.float32)
    common = np.flatnonzero(shares >= RARE_SHARE).astype(np.uint8)
    kept = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
    kept[common] = common
    classes = lookup(kept, sure)
    return _Blocks(classes, common, shares[common])


def _decide(pixels: Pixels, blocks: _Blocks, features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the class of least cost of each pixel, (P,) uint8.

    Costs are negative logarithms of probabilities, in nats, less what all classes have in common.

    Args:
        pixels: what is known of them.
        blocks: what is known of their surroundings.
        features: (3, 256) by class, in the unit of the pixels'.
    """
    nearest = pixels.nearest
    if not blocks.common.size:
        return nearest
    away = pixels.own - np.take(features, nearest, axis=1)
    least = (_squares(away) - _squares(pixels.around)) / np.float32(LEVELS_PER_NAT)
    least -= np.float32(np.log(OWN_PRIOR))
    if pixels.exact is not None:
        least[pixels.exact] = -np.inf
    # Of |x - f|^2, |x|^2 is the same for all classes.
    seen = features[:, blocks.common] / np.float32(LEVELS_PER_NAT)
    costs = np.asarray((-2 * seen.T) @ pixels.around, np.float32)  # (C, P)
    counts, by_count = _count_nearby(blocks, pixels.block), _costs_by_count(blocks.shares)
    by_count += (_squares(seen) * np.float32(LEVELS_PER_NAT))[:, np.newaxis]
    for place, cost in enumerate(costs):
        cost += lookup(by_count[place], counts[place])
    cheapest, cost = _cheapest(costs)
    return np.where(cost < least, np.take(blocks.common, cheapest), nearest)


def _cheapest(costs: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the place of each pixel's least cost, and that cost: (C, P) nats in, (P,) each out.

    Costs are compared in 4096ths of a nat, with the place in the bits below: one minimum finds
    both, several times as fast as ``argmin`` down columns.
    """
    ranks = (costs * np.float32(_STEPS)).astype(np.int32)
    ranks <<= _PLACE_BITS
    ranks |= np.arange(len(costs), dtype=np.int32)[:, np.newaxis]
    first = ranks.min(axis=0)
    places = first & ((1 << _PLACE_BITS) - 1)
    return places, (first >> _PLACE_BITS) / np.float32(_STEPS)


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared lengths of N vectors: (3, N) in, (N,) out."""
    return np.asarray(np.einsum("fn,fn->n", vectors, vectors), np.float32)


def _count_nearby(blocks: _Blocks, block: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return how many blocks around each of some blocks are sure of each class, (C or more, P)."""
    around = (_REACH, _REACH, _REACH, _REACH)
    framed = cv2.copyMakeBorder(blocks.classes, *around, cv2.BORDER_REFLECT_101)
    down = np.arange(_SIDE)[:, np.newaxis] * framed.shape[1]
    left_ends = down + (block + block // blocks.classes.shape[1] * 2 * _REACH)  # (5, P)
    counts = []
    for first in range(0, blocks.common.size, _AT_ONCE):
        classes = blocks.common[first : first + _AT_ONCE]
        ones = np.zeros(NO_CLASS + 1, np.uint64)
        ones[classes] = np.uint64(1) << _SHIFTS[: classes.size]
        of_one = lookup(ones.view(np.float64), framed).view(np.uint64).ravel()
        of_five = of_one[: 1 - _SIDE].copy()
        for right in range(1, _SIDE):
            of_five += of_one[right : of_one.size + 1 - _SIDE + right]
        rows = np.take(of_five, left_ends)
        for half in (rows & _LOWER_HALVES, rows >> np.uint64(4) & _LOWER_HALVES):
            of_class = half.sum(axis=0).view(np.uint8).reshape(-1, 8)
            counts.append(cv2.transpose(of_class))
    return np.concatenate(counts)


def _costs_by_count(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what each class's prior costs for each count of :func:`_count_nearby`.

    Args:
        shares: (C,) of the frame.

    Returns:
        (C, 256) in nats, of which the counts that there are are filled in: OpenCV's table.
    """
    table = np.zeros((len(shares), 256), np.float32)
    nearby = np.arange(_SIDE**2 + 1, dtype=np.float32) / _SIDE**2
    priors = nearby + (FRAME_WEIGHT * shares + LEAST_PRIOR)[:, np.newaxis]
    np.negative(np.log(priors), out=table[:, : len(nearby)])
    return table
