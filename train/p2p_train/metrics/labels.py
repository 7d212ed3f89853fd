"""Label fidelity: can a judge find the labels again in what was generated from them?

This is the FCN-score of Isola et al. 2017 (arXiv 1611.07004, section 4.1), whose three numbers are
those of Long et al. 2015 (arXiv 1411.4038, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["IGNORED", "LabelFidelity", "confusion_matrix"]

IGNORED = 255
"""The class id of pixels that nobody is asked about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFidelity:
    """How well labels were found again, each number 0-1, more is better.

    Attributes:
        pixel_accuracy: share of the pixels whose class was found.
        class_accuracy: the same share within each class, averaged over the classes present.
        mean_iou: intersection over union, averaged over the classes present.
    """

    pixel_accuracy: float
    class_accuracy: float
    mean_iou: float

    @classmethod
    def of(cls, confusion: torch.Tensor) -> LabelFidelity:
        """Read the numbers off a (classes, classes) confusion matrix, rows true, columns found.

        A class is present when the matrix has a true pixel of it.
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
    """Count the pixels of each true class that were taken for each class.

    Args:
        true: class ids of any shape; :data:`IGNORED` ones are not counted.
        found: class ids of the same shape, all below ``classes``.
        classes: how many there are.

    Returns:
        (classes, classes) int64, rows true, columns found.
    """
    asked = true != IGNORED
    cells = true[asked].long() * classes + found[asked].long()
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)
