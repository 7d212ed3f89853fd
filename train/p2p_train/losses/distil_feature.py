"""Distance of the images' features at each position."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .base import Curve, DistillationLoss, GeneratorOutput, LossBatch, relative_l1
from .distil_l1 import DISTILLATION_PANEL

__all__ = ["DistilFeatureLoss", "feature_distance"]


class DistilFeatureLoss(DistillationLoss):
    """Distance of the feature network's outputs on the image and on the teacher's."""

    name = "distil_feature"
    setting = "lambda_distil_feature"
    curve = Curve(panel=DISTILLATION_PANEL, label="features")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the unweighted loss, a scalar."""
        return feature_distance(self.feature_pairs(batch, output))


def feature_distance(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Return the distance of features, relative to the reference's magnitude, a scalar.

    Args:
        pairs: features of the image and of its reference, (N, C, h, w) each.
    """
    distances = [relative_l1(one.float(), reference.float()) for one, reference in pairs]
    return torch.stack(distances).mean()
