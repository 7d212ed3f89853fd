"""Label repair: the most likely class of each pixel of a label map after a codec.

At the edges of regions a codec mixes the chroma of two classes, and the palette colour nearest to
the mixture may be that of a third. So each uncertain pixel takes the class of the maximum posterior
(MAP), that is, of the least cost in nats::

    cost(class) = |x - f|^2 / LEVELS_PER_NAT - log(n / 25 + FRAME_WEIGHT s + LEAST_PRIOR)

The first term is the likelihood, see :mod:`.likelihood`. The second is the prior: ``n`` counts the
confident blocks of the class among the 5x5 around the pixel, ``s`` is the class's share of all
blocks. It acts like the neighbourhood term of a Markov random field whose confident blocks are
fixed; one pass over the uncertain pixels replaces the usual iterations.

The class nearest to the pixel's own colour is always a candidate: with the pixel's own chroma and
the fixed prior ``OWN_PRIOR``, so that small objects without any confident block survive.

The constants were chosen on the CamVid label video; ``docs/label-repair.md`` has the results.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from .color_lut import NEAR, apply_lut
from .colorspace import ColorspaceMismatch
from .likelihood import LEVELS_PER_NAT, BgrAppearance, BgrLikelihood, Features, YuvLikelihood
from .palette import Palette
from .resampling import Resampling, resample, resize
from .yuv import ColorSpec, Picture, YuvFrame
from .yuv_lut import NO_CLASS, YuvLut, cells_of, chroma_pairs, near_cells

__all__ = ["classify", "count_nearby", "least_costs", "off_palette"]

Classes: TypeAlias = tuple[int, ...] | None

RARE_SHARE = 3e-4
"""Minimum share of confident blocks of a class; below it they may be mixtures and are decided."""

FRAME_WEIGHT = 0.004
"""Weight of a class's share of the frame against its share of the neighbourhood."""

LEAST_PRIOR, OWN_PRIOR = 1e-5, 0.002
"""Priors, before normalisation, of a class that occurs nowhere, and of the class nearest to a
pixel's own colour."""

_COUNTED_ROWS = 45
"""Approximate number of block rows from which the classes' shares are estimated."""

_SIDE, _RADIUS = 5, 2
"""Size of the neighbourhood in blocks."""

_INDEX_BITS, _STEPS = 8, 4096
"""Costs are below 1000 nats, so cost steps and a class index fit into 32 bits."""

# A row of 5 blocks counts to 5 at most, which takes 4 bits. So 64 bits hold the counts of 16
# classes: the first eight in the lower halves of the bytes, the others in the upper halves.
_CLASSES_PER_WORD = 16
_SHIFTS = np.array([8 * (i % 8) + 4 * (i // 8) for i in range(_CLASSES_PER_WORD)], np.uint64)
_LOWER_HALVES = np.uint64(0x0F0F0F0F0F0F0F0F)


def classify(
    frame: Picture,
    size: tuple[int, int],
    palette: Palette,
    classes: Classes,
    mismatch: ColorspaceMismatch,
) -> NDArray[np.uint8]:
    """Return the repaired class of each pixel of a label map, resized by nearest neighbour.

    Args:
        frame: (H, W, 3) uint8 BGR, or YUV 4:2:0, with this mismatch.
        size: height and width in pixels of the (height, width) uint8 class indices returned.
        palette, classes: the colours, and the ascending indices that may come out (None: all).
    """
    if classes is not None and len(classes) == len(palette.classes):
        classes = None  # one table for both
    resampling = resample(*frame.shape[:2], *size)
    if isinstance(frame, YuvFrame):
        in_yuv = _in_yuv(palette, classes, mismatch, frame.spec)
        source = frame.take(resampling.source_rows, resampling.source_columns)
        return _repaired_ids(YuvLikelihood(source, in_yuv), resampling)
    in_bgr = _in_bgr(palette, classes, mismatch)
    if in_bgr.may_be_exact(frame) and (exact := in_bgr.exact_ids(resize(frame, *size))) is not None:
        return exact
    return _repaired_ids(BgrLikelihood(resampling.source_pixels(frame), in_bgr), resampling)


def off_palette(
    frame: Picture, palette: Palette, mismatch: ColorspaceMismatch, every_px: int
) -> float:
    """Return the share (0-1) of pixels over 31 levels from every colour of the palette.

    Pixels of every ``every_px``-th row and column are tested; the rest is as in :func:`classify`.
    """
    if isinstance(frame, YuvFrame):
        luma, cb, cr = frame.strided(every_px, every_px)
        cells = cells_of(luma, chroma_pairs(cb, cr))
        near = apply_lut(_near_in_yuv(palette, mismatch, frame.spec), cells)
        return 1 - cv2.countNonZero(near) / cells.size
    entries = _in_bgr(palette, None, mismatch).lut.lookup(frame[::every_px, ::every_px])
    return float(((entries & NEAR) == 0).mean())


def _indices(palette: Palette, classes: Classes) -> NDArray[np.uint8]:
    return np.array(range(len(palette.classes)) if classes is None else classes, np.uint8)


@lru_cache(maxsize=4)
def _in_bgr(palette: Palette, classes: Classes, mismatch: ColorspaceMismatch) -> BgrAppearance:
    indices = _indices(palette, classes)
    return BgrAppearance(indices, mismatch.shift(palette.colours_bgr())[indices])


@lru_cache(maxsize=4)
def _in_yuv(
    palette: Palette, classes: Classes, mismatch: ColorspaceMismatch, spec: ColorSpec
) -> YuvLut:
    indices = _indices(palette, classes)
    return YuvLut(indices, mismatch.shift_levels(palette.colours_bgr())[indices], spec)


@lru_cache(maxsize=4)
def _near_in_yuv(
    palette: Palette, mismatch: ColorspaceMismatch, spec: ColorSpec
) -> NDArray[np.uint8]:
    return near_cells(mismatch.shift_levels(palette.colours_bgr()), spec)


def _repaired_ids(
    likelihood: BgrLikelihood | YuvLikelihood, resampling: Resampling
) -> NDArray[np.uint8]:
    """Return the most likely class of each pixel of a resized frame, (h, w) uint8."""
    confident = likelihood.confident_blocks()
    common, shares = _common_classes(confident)
    kept = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
    kept[common] = common
    blocks = apply_lut(kept, confident)
    ids = resampling.from_blocks(blocks)
    uncertain = np.flatnonzero(ids == NO_CLASS)
    if uncertain.size:
        row, column = np.divmod(uncertain, ids.shape[1])
        row, column = np.take(resampling.rows, row), np.take(resampling.columns, column)
        block = (row >> 1) * blocks.shape[1] + (column >> 1)
        features = likelihood.features(row, column, block)
        best = _most_likely(features, likelihood.class_features, blocks, common, shares)
        np.put(ids, uncertain, best)
    return ids


def _common_classes(confident: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the C classes that are not rare, and their shares (0-1) of all blocks: (C,) each."""
    some = confident[:: max(1, len(confident) // _COUNTED_ROWS)]
    counts = cv2.calcHist([some], [0], None, [NO_CLASS], [0, NO_CLASS])  # exact: under 2^24
    shares = np.asarray(counts.ravel() / some.size, np.float32)
    common = np.flatnonzero(shares >= RARE_SHARE).astype(np.uint8)
    return common, shares[common]


def _most_likely(
    pixels: Features,
    class_features: NDArray[np.float32],
    blocks: NDArray[np.uint8],
    common: NDArray[np.uint8],
    shares: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Return the class of least cost of each pixel, (P,) uint8.

    ``|x|^2`` is left out of ``|x - f|^2`` everywhere, since all classes have it in common.
    """
    nearest = pixels.nearest
    if not common.size:
        return nearest
    offset = pixels.own - np.take(class_features, nearest, axis=1)  # (3, P)
    own_cost = (_squares(offset) - _squares(pixels.interpolated)) / np.float32(LEVELS_PER_NAT)
    own_cost -= np.float32(np.log(OWN_PRIOR))
    if pixels.exact is not None:
        own_cost[pixels.exact] = -np.inf
    scaled = class_features[:, common] / np.float32(LEVELS_PER_NAT)  # (3, C)
    costs = np.asarray((-2 * scaled.T) @ pixels.interpolated, np.float32)  # (C, P)
    counts = count_nearby(blocks, common, pixels.block)  # (C or more, P)
    by_count = _prior_costs(shares)
    by_count += (_squares(scaled) * np.float32(LEVELS_PER_NAT))[:, np.newaxis]
    for index, cost in enumerate(costs):
        cost += apply_lut(by_count[index], counts[index])
    cheapest, cost = least_costs(costs)
    return np.where(cost < own_cost, np.take(common, cheapest), nearest)


def least_costs(costs: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the row of each column's least cost, and that cost: (C, P) nats in, (P,) each out.

    Costs are compared in 4096ths of a nat, with the row in the bits below: faster than ``argmin``.
    """
    ranks = (costs * np.float32(_STEPS)).astype(np.int32)
    ranks <<= _INDEX_BITS
    ranks |= np.arange(len(costs), dtype=np.int32)[:, np.newaxis]
    least = ranks.min(axis=0)
    rows = least & ((1 << _INDEX_BITS) - 1)
    return rows, (least >> _INDEX_BITS) / np.float32(_STEPS)


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared lengths of N vectors: (3, N) in, (N,) out."""
    return np.asarray(np.einsum("fn,fn->n", vectors, vectors), np.float32)


def count_nearby(
    blocks: NDArray[np.uint8], classes: NDArray[np.uint8], block: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Count the confident blocks of C classes among the 5x5 around each of P blocks.

    From (H / 2, W / 2) uint8, the class of confident blocks, else ``NO_CLASS``, and (P,) indices
    into the flattened blocks to (C or more, P) uint8, 0-25.
    """
    border = (_RADIUS, _RADIUS, _RADIUS, _RADIUS)
    padded = cv2.copyMakeBorder(blocks, *border, cv2.BORDER_REFLECT_101)
    down = np.arange(_SIDE)[:, np.newaxis] * padded.shape[1]
    left_ends = down + (block + block // blocks.shape[1] * 2 * _RADIUS)  # (5, P)
    counts = []
    for first in range(0, classes.size, _CLASSES_PER_WORD):
        some = classes[first : first + _CLASSES_PER_WORD]
        ones = np.zeros(NO_CLASS + 1, np.uint64)
        ones[some] = np.uint64(1) << _SHIFTS[: some.size]
        single = apply_lut(ones.view(np.float64), padded).view(np.uint64).ravel()
        sums = single[: 1 - _SIDE].copy()  # of 5 blocks in a row
        for right in range(1, _SIDE):
            sums += single[right : single.size + 1 - _SIDE + right]
        rows = np.take(sums, left_ends)  # (5, P)
        for half in (rows & _LOWER_HALVES, rows >> np.uint64(4) & _LOWER_HALVES):
            by_class = half.sum(axis=0).view(np.uint8).reshape(-1, 8)  # (P, 8)
            counts.append(cv2.transpose(by_class))
    return np.concatenate(counts)


def _prior_costs(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cost of the prior by class and count: (C, 256) nats, filled for counts 0-25."""
    table = np.zeros((len(shares), 256), np.float32)
    nearby = np.arange(_SIDE**2 + 1, dtype=np.float32) / _SIDE**2
    priors = nearby + (FRAME_WEIGHT * shares + LEAST_PRIOR)[:, np.newaxis]
    np.negative(np.log(priors), out=table[:, : len(nearby)])
    return table
