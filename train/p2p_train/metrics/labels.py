"""Segmentation score: the labels that a segmenter finds in generated images, against the input's.

This is the FCN-score of Isola et al. 2017 (arXiv 1611.07004, section 4.1). Its three numbers are
those of Long et al. 2015 (arXiv 1411.4038, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from .frechet import FeatureStatistics

__all__ = ["IGNORED", "Evaluator", "SegmentationScore", "confusion_matrix"]

IGNORED = 255
"""Class id of pixels that are not scored."""


class Evaluator(Protocol):
    """What the metrics need of a segmenter; images and labels are (N, H, W, 3) uint8 BGR."""

    @property
    def photo_features(self) -> FeatureStatistics:
        """Statistics of its features on the real training photos."""

    def confusion(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> torch.Tensor:
        """Return the (classes, classes) confusion matrix, rows true, columns found."""

    def features(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return (N, D) float32 features."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentationScore:
    """Agreement of found and true classes; each number is 0-1, higher is better.

    Attributes:
        pixel_accuracy: share of the pixels whose class was found.
        class_accuracy: the same share within each class, averaged over the classes present.
        mean_iou: intersection over union, averaged over the classes present.
    """

    pixel_accuracy: float
    class_accuracy: float
    mean_iou: float

    @classmethod
    def of(cls, confusion: torch.Tensor) -> SegmentationScore:
        """Compute the score of a (classes, classes) confusion matrix, rows true, columns found.

        A class is present if the matrix has a true pixel of it.
        """
        counts = confusion.double()
        hits, true, found = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
        present = true > 0
        accuracy = (hits / true)[present]
        iou = (hits / (true + found - hits))[present]
        return cls(
            pixel_accuracy=float(hits.sum() / true.sum()),
            class_accuracy=float(accuracy.mean()),
            mean_iou=float(iou.mean()),
        )


def confusion_matrix(true: torch.Tensor, found: torch.Tensor, classes: int) -> torch.Tensor:
    """Count the pixels of each pair of true and found class.

    Args:
        true, found: class ids of any shape, below ``classes``; true ones that are
            :data:`IGNORED` are not counted.
        classes: number of classes.

    Returns:
        (classes, classes) int64, rows true, columns found.
    """
    counted = true != IGNORED
    cells = true[counted].long() * classes + found[counted].long()
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)
