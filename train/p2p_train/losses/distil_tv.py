"""Total variation of the image, against noise."""

from __future__ import annotations

import torch

from .base import DistillationLoss, GeneratorOutput, LossBatch, distillation_curve

__all__ = ["DistilTvLoss"]


class DistilTvLoss(DistillationLoss):
    """Total variation of the generated image."""

    name = "distil_tv"
    setting = "lambda_distil_tv"
    curve = distillation_curve("total variation")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean absolute difference of neighbours, across plus down."""
        image = output.image.float()  # (N, 3, H, W)
        across = (image[..., 1:] - image[..., :-1]).abs().mean()
        return across + (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
