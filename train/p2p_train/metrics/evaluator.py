"""What a segmenter measures of generated images: segmentation score and Frechet distance.

The segmentation score is the FCN-score of Isola et al. 2017 (arXiv 1611.07004, section 4.1); its
three numbers are those of Long et al. 2015 (arXiv 1411.4038, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "IGNORED", "Evaluator", "FeatureStatistics", "SegmentationScore", "confusion_matrix",
    "frechet_distance",
]  # fmt: skip

IGNORED = 255
"""Class id of pixels that are not scored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStatistics:
    """Mean, (D,), and unbiased covariance, (D, D), of some images' features, float64."""

    mean: torch.Tensor
    covariance: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor) -> FeatureStatistics:
        """Return those of (N, D) features; with N not well above D, distances come out too large.

        Raises:
            ValueError: there are fewer than two images.
        """
        if len(features) < 2:
            raise ValueError(f"a covariance needs two images or more, not {len(features)}")
        exact = features.double()
        mean = exact.mean(dim=0)
        spread = exact - mean
        return cls(mean=mean, covariance=spread.T @ spread / (len(exact) - 1))


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
    """Count the pixels of each pair of true (row) and found (column) class.

    Class ids of any shape, below ``classes``, become (classes, classes) int64. True ones that are
    :data:`IGNORED` are not counted.
    """
    counted = true != IGNORED
    cells = true[counted].long() * classes + found[counted].long()
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)


def frechet_distance(one: FeatureStatistics, two: FeatureStatistics) -> float:
    """Return the Frechet distance of two sets of images, 0 or more; 0 for equal statistics.

    It is ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` with the means and covariances of their
    features: Heusel et al. 2017 (arXiv 1706.08500), equation 6. The trace of ``(C1 C2)^(1/2)`` is
    that of ``(R C2 R)^(1/2)`` with ``R = C1^(1/2)``. Both roots are of symmetric matrices, so
    nothing complex appears, even when covariances are singular.
    """
    values, vectors = torch.linalg.eigh(one.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root @ two.covariance @ root).clamp(min=0)
    traces = one.covariance.trace() + two.covariance.trace() - 2 * eigenvalues.sqrt().sum()
    distance = (one.mean - two.mean).square().sum() + traces
    return max(float(distance), 0.0)  # rounding may leave -1e-15
