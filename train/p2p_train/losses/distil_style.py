"""Distance of the images' styles: which features occur together, wherever they are."""

from __future__ import annotations

import torch

from .base import (
    DistillationLoss,
    FeaturePairs,
    GeneratorOutput,
    LossBatch,
    distillation_curve,
    feature_distance,
)

__all__ = ["DistilStyleLoss", "style_distance"]


class DistilStyleLoss(DistillationLoss):
    """Distance of Gram matrices of the teacher's discriminator's features of both images."""

    name = "distil_style"
    setting = "lambda_distil_style"
    curve = distillation_curve("style")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`style_distance`."""
        return style_distance(self.feature_pairs(batch, output))


def style_distance(pairs: FeaturePairs) -> torch.Tensor:
    """Return the distance of Gram matrices, relative to the reference's, a scalar.

    Gatys et al. 2016, "Image style transfer using convolutional neural networks", equation 3.
    """
    return feature_distance((_gram(features), _gram(reference)) for features, reference in pairs)


def _gram(features: torch.Tensor) -> torch.Tensor:
    flat = features.float().flatten(2)  # (N, C, h * w)
    return flat @ flat.transpose(1, 2) / flat.shape[2]  # (N, C, C)
