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

_WINDOW = (5, 5)
"""The neighbourhood, in blocks."""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The 2x2 px blocks that share one chroma sample.

    Attributes:
        classes: (H / 2, W / 2) uint8, the class of blocks that are sure, else ``NO_CLASS``.
        shares: by class, its share (0-1) of all blocks, for those no rarer than ``RARE_SHARE``.
    """

    classes: NDArray[np.uint8]
    shares: dict[int, float]


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
    counts = np.bincount(sure.ravel(), minlength=NO_CLASS + 1)[:NO_CLASS]
    shares = counts / sure.size
    common = np.flatnonzero(shares >= RARE_SHARE)
    kept = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
    kept[common] = common
    classes = np.asarray(cv2.LUT(sure, kept), np.uint8)
    return _Blocks(classes, {int(index): float(shares[index]) for index in common})


def _decide(pixels: Pixels, blocks: _Blocks, features: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the class of least cost of each pixel, (P,) uint8.

    Costs are negative logarithms of probabilities, in nats.

    Args:
        pixels: what is known of them.
        blocks: what is known of their surroundings.
        features: (256, 3) by class, in the unit of the pixels'.
    """
    winner = pixels.nearest.copy()
    away = pixels.own - np.take(features, winner, axis=0)
    least = np.einsum("pf,pf->p", away, away)
    least /= LEVELS_PER_NAT
    least -= np.float32(np.log(OWN_PRIOR))
    if pixels.exact is not None:
        least[pixels.exact] = -np.inf
    costs = _distances(features[list(blocks.shares)], pixels.around)  # (C, P)
    for (index, share), cost in zip(blocks.shares.items(), costs, strict=True):
        prior = _nearby(blocks.classes, index, pixels.block)
        prior += np.float32(FRAME_WEIGHT * share + LEAST_PRIOR)
        cost -= np.log(prior, out=prior)
        np.copyto(winner, np.uint8(index), where=cost < least)
        np.minimum(least, cost, out=least)
    return winner


def _nearby(classes: NDArray[np.uint8], index: int, block: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return a class's share (0-1) of the sure blocks around each of some blocks, (P,)."""
    of_class = (classes == index).view(np.uint8)
    count = cv2.boxFilter(of_class, cv2.CV_8U, _WINDOW, normalize=False)
    scale = np.float32(1 / (_WINDOW[0] * _WINDOW[1]))
    return np.asarray(np.take(count.ravel(), block) * scale, np.float32)


def _distances(features: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return squared distances over ``LEVELS_PER_NAT``: (C, 3) and (P, 3) in, (C, P) out."""
    squares = features @ pixels.T
    squares *= -2
    squares += np.einsum("cf,cf->c", features, features)[:, np.newaxis]
    squares += np.einsum("pf,pf->p", pixels, pixels)
    squares /= LEVELS_PER_NAT
    return squares
