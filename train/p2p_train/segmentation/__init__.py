"""A small segmentation network that says what generated photos show, trained on real ones."""

from __future__ import annotations

from .segmenter import Judge
from .training import JudgeConfig, train_judge

__all__ = ["Judge", "JudgeConfig", "train_judge"]
