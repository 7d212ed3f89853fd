"""Distance of the images' features at each position."""

from __future__ import annotations

import torch

from .base import DistillationLoss, GeneratorOutput, LossBatch, distillation_curve, feature_distance

__all__ = ["DistilFeatureLoss"]


class DistilFeatureLoss(DistillationLoss):
    """Distance of the teacher's discriminator's features of both images."""

    name = "distil_feature"
    setting = "lambda_distil_feature"
    curve = distillation_curve("features")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`.feature_distance`."""
        return feature_distance(self.feature_pairs(batch, output))
