"""The L1 loss to the photo: Isola et al. 2017 (arXiv 1611.07004), equation 3."""

from __future__ import annotations

import torch
from torch.nn import functional

from p2p_train.config import TrainConfig

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch

__all__ = ["L1Loss"]


class L1Loss(GeneratorLoss):
    """Mean absolute difference of the image and the photo, in [-1, 1] signal units."""

    name = "generator_l1"
    setting = "lambda_l1"
    curve = Curve(panel="L1 to the photo", unit="signal units, [-1, 1]", progress=("L1", 4))

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Apply to every run: the log compares it with the validation L1, whatever its weight."""
        return True

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; in float32, whatever the generator ran in."""
        return functional.l1_loss(output.image.float(), batch.target)
