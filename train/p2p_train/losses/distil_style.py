"""Distance of the images' styles: which features occur together, wherever they are."""

from __future__ import annotations

import torch

from .base import DistillationLoss, GeneratorOutput, LossBatch, distillation_curve
from .style import style_distance

__all__ = ["DistilStyleLoss"]


class DistilStyleLoss(DistillationLoss):
    """Distance of Gram matrices of the feature network's outputs on both images."""

    name = "distil_style"
    setting = "lambda_distil_style"
    curve = distillation_curve("style")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`.style_distance`."""
        return style_distance(self.feature_pairs(batch, output))
