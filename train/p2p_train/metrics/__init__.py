"""Quality of generated images: distance to the photos, segmentation score, flicker."""

from __future__ import annotations

from .flicker import Flicker
from .frechet import FeatureStatistics, frechet_distance
from .images import Quality, eval_mode, evaluate, image_l1, psnr_db, ssim
from .labels import IGNORED, Evaluator, SegmentationScore, confusion_matrix
from .pattern import FixedPattern

__all__ = [
    "IGNORED",
    "Evaluator",
    "FeatureStatistics",
    "FixedPattern",
    "Flicker",
    "Quality",
    "SegmentationScore",
    "confusion_matrix",
    "eval_mode",
    "evaluate",
    "frechet_distance",
    "image_l1",
    "psnr_db",
    "ssim",
]
