"""Distance of the images' styles: which features occur together, wherever they are."""

from __future__ import annotations

import torch

from .base import Curve, DistillationLoss, GeneratorOutput, LossBatch
from .distil_l1 import DISTILLATION_PANEL
from .style import style_distance

__all__ = ["DistilStyleLoss"]


class DistilStyleLoss(DistillationLoss):
    """Distance of Gram matrices of the feature network's outputs on both images."""

    name = "distil_style"
    setting = "lambda_distil_style"
    curve = Curve(panel=DISTILLATION_PANEL, label="style")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`.style_distance`."""
        return style_distance(self.feature_pairs(batch, output))
