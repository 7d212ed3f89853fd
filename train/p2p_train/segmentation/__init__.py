"""A small segmentation network that says what generated photos show, trained on real ones."""

from __future__ import annotations

from .segmenter import Segmenter
from .training import SegmenterConfig, train_segmenter

__all__ = ["Segmenter", "SegmenterConfig", "train_segmenter"]
