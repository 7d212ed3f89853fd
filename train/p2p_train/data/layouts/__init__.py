"""Find the pairs of a data set on disk and check their headers, without torch.

``images``: one picture on disk, as far as its header tells. ``folders``: two folders matched by
name. ``index``: whichever layout a data set has, listed and split.
"""

from __future__ import annotations

from .images import IMAGE_SUFFIXES, ImageRef, images_in
from .index import Pair, PairIndex, find_pairs

__all__ = ["IMAGE_SUFFIXES", "ImageRef", "Pair", "PairIndex", "find_pairs", "images_in"]
