"""Label repair: which class each pixel of a label map was before a codec blurred it.

Video codecs keep brightness at full resolution and colour at half of it, so along the edges of
regions a pixel's colour is a mix, and the palette colour nearest to the mix may be a third class's.
Pixels whose colour leaves doubt are therefore decided by Bayes' rule. How well does a class explain
the pixel: its luma, which counts more, and the chroma around it? And how likely is the class there
in the first place: how much of it is sure nearby, and in the whole frame?

What a frame shows of its classes depends on how it is stored, see :mod:`p2p_runtime.evidence`.
``docs/label-repair.md`` says what repair brings, and what was tried and left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .evidence import NO_CLASS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .evidence import Evidence, Pixels
    from .sampling import Sampling

__all__ = ["repaired_ids"]

LEVELS_PER_NAT = 1200.0
"""Weighted squared levels that outweigh a prior e times as high."""

RARE_SHARE = 3e-4
"""A class with a smaller share of sure blocks may be a mixture of others; its blocks are judged."""

FRAME_WEIGHT = 0.004
"""What the class's share of the whole frame adds to its share of the neighbourhood."""

LEAST_PRIOR = 1e-5
OWN_PRIOR = 0.002
"""Prior of the class nearest to a pixel's own colour, whatever lies around: small things live."""

_SIDE = 5
"""The neighbourhood's, in blocks."""

_CHANNELS = 16
"""NumPy copies rows of 16 bytes three times as fast as rows of 13."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The 2x2 px blocks that share one chroma sample.

    Attributes:
        classes: (H / 2, W / 2) uint8, the class of blocks that are sure, else ``NO_CLASS``.
        common: (C,) uint8, the classes no rarer than ``RARE_SHARE``.
        shares: (C,) float32, their shares (0-1) of all blocks.
    """

    classes: NDArray[np.uint8]
    common: NDArray[np.uint8]
    shares: NDArray[np.float32]


def repaired_ids(evidence: Evidence, sampling: Sampling) -> NDArray[np.uint8]:
    """Return each pixel's most likely class.

    Args:
        evidence: what the frame shows.
        sampling: which pixels of the frame are asked for.

    Returns:
        (h, w) uint8 class indices, as many as the sampling has rows and columns.
    """
    blocks = _common(evidence.sure_blocks())
    ids = np.take(blocks.classes.ravel(), sampling.blocks)
    doubts = np.flatnonzero(ids == NO_CLASS)
    if doubts.size:
        row, column = np.divmod(doubts, len(sampling.columns))
        row, column = np.take(sampling.rows, row), np.take(sampling.columns, column)
        pixels = evidence.look_at(row, column, np.take(sampling.blocks, doubts))
        np.put(ids, doubts, _decide(pixels, blocks, evidence.features))
    return ids.reshape(len(sampling.rows), -1)


def _common(sure: NDArray[np.uint8]) -> _Blocks:
    """Take the blocks of rare classes out."""
    counts = cv2.calcHist([sure], [0], None, [NO_CLASS], [0, NO_CLASS])  # exact: under 2^24
    shares = np.asarray(counts.ravel() / sure.size, np.float32)
    common = np.flatnonzero(shares >= RARE_SHARE).astype(np.uint8)
    kept = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
    kept[common] = common
    classes = np.asarray(cv2.LUT(sure, kept), np.uint8)
    return _Blocks(classes, common, shares[common])


def _decide(pixels: Pixels, blocks: _Blocks, features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the class of least cost of each pixel, (P,) uint8.

    Costs are negative logarithms of probabilities, in nats, less what all classes have in common.

    Args:
        pixels: what is known of them.
        blocks: what is known of their surroundings.
        features: (3, 256) by class, in the unit of the pixels'.
    """
    winner = pixels.nearest.copy()
    if not blocks.common.size:
        return winner
    away = pixels.own - np.take(features, winner, axis=1)
    least = (_squares(away) - _squares(pixels.around)) / np.float32(LEVELS_PER_NAT)
    least -= np.float32(np.log(OWN_PRIOR))
    if pixels.exact is not None:
        least[pixels.exact] = -np.inf
    # Of |x - f|^2, |x|^2 is the same for all classes.
    seen = features[:, blocks.common] / np.float32(LEVELS_PER_NAT)
    costs = (-2 * seen.T) @ pixels.around  # (C, P)
    costs += (_squares(seen) * np.float32(LEVELS_PER_NAT))[:, np.newaxis]
    counts, log_priors = _count_nearby(blocks, pixels.block), _log_priors(blocks.shares)
    for place, index in enumerate(blocks.common):
        cost = costs[place]
        cost -= cv2.LUT(counts[place], log_priors[place]).ravel()
        np.copyto(winner, index, where=cost < least)
        np.minimum(least, cost, out=least)
    return winner


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared lengths of N vectors: (3, N) in, (N,) out."""
    return np.asarray(np.einsum("fn,fn->n", vectors, vectors), np.float32)


def _count_nearby(blocks: _Blocks, block: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return how many blocks around each of some blocks are sure of each class, (C or more, P).

    Each class is a channel, so that OpenCV sums all of them in one go.
    """
    classes = blocks.common.size
    channels = -(-classes // _CHANNELS) * _CHANNELS
    one_hot = np.zeros((NO_CLASS + 1, channels), np.uint8)
    one_hot[blocks.common, np.arange(classes)] = 1
    of_class = np.take(one_hot, blocks.classes, axis=0)  # (H / 2, W / 2, channels)
    counts = cv2.boxFilter(of_class, cv2.CV_8U, (_SIDE, _SIDE), normalize=False)
    return np.asarray(cv2.transpose(np.take(counts.reshape(-1, channels), block, axis=0)), np.uint8)


def _log_priors(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithm of each class's prior for each count of :func:`_count_nearby`.

    Args:
        shares: (C,) of the frame.

    Returns:
        (C, 256) in nats, of which the counts that there are are filled in: OpenCV's table.
    """
    table = np.zeros((len(shares), 256), np.float32)
    nearby = np.arange(_SIDE**2 + 1, dtype=np.float32) / _SIDE**2
    np.log(
        nearby + (FRAME_WEIGHT * shares + LEAST_PRIOR)[:, np.newaxis],
        out=table[:, : len(nearby)],
    )
    return table
