"""L1 distance to the teacher's image."""

from __future__ import annotations

import torch
from torch.nn import functional

from .base import Curve, DistillationLoss, GeneratorOutput, LossBatch

__all__ = ["DISTILLATION_PANEL", "DistilL1Loss"]

DISTILLATION_PANEL = "distance to the teacher"


class DistilL1Loss(DistillationLoss):
    """Mean absolute difference to the teacher's image, in [-1, 1] signal units."""

    name = "distil_l1"
    setting = "lambda_distil_l1"
    curve = Curve(
        panel=DISTILLATION_PANEL, label="L1", unit="0 = equal", progress=("to the teacher", 4)
    )

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the unweighted loss, a scalar."""
        return functional.l1_loss(output.image.float(), self.teacher_output(batch).image.float())
