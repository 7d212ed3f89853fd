"""L1 distance to the teacher's image."""

from __future__ import annotations

import torch
from torch.nn import functional

from .base import DistillationLoss, GeneratorOutput, LossBatch, distillation_curve

__all__ = ["DistilL1Loss"]


class DistilL1Loss(DistillationLoss):
    """Mean absolute difference to the teacher's image, in [-1, 1] signal units."""

    name = "distil_l1"
    setting = "lambda_distil_l1"
    curve = distillation_curve("L1", progress=("to the teacher", 4))

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; in float32, whatever the generators ran in."""
        return functional.l1_loss(output.image.float(), self.teacher_image(batch).float())
