"""Layouts of data sets: find the pairs on disk and check their headers, without torch.

One module a layout (:mod:`.side_by_side`, :mod:`.two_folders`); :mod:`.index` finds out which one a
data set has and splits it into training and validation.
"""

from __future__ import annotations

from .images import IMAGE_SUFFIXES, ImageRef, Pair, images_in
from .index import PairIndex, evenly_spread, find_pairs

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageRef",
    "Pair",
    "PairIndex",
    "evenly_spread",
    "find_pairs",
    "images_in",
]
