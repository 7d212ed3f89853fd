"""A small segmentation network, trained on real photos, that evaluates generated ones."""

from __future__ import annotations

from .segmenter import Segmenter
from .training import SegmenterConfig, train_segmenter

__all__ = ["Segmenter", "SegmenterConfig", "train_segmenter"]
