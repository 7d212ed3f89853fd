"""The style loss: which textures a picture has, wherever they are.

A pixel loss asks for the mean of all photos that a label map allows, which is a blur. Style is
computed from a whole picture, and its mean is no blur.
"""

from __future__ import annotations

import torch

from p2p_train.segmentation.network import TEXTURE_STAGES

from .base import Curve, FeaturePairs, GeneratorOutput, LossBatch, SegmenterLoss, feature_distance

__all__ = ["StyleLoss", "style_distance"]


class StyleLoss(SegmenterLoss):
    """Distance of Gram matrices of the segmenter's features to those of the real photo."""

    name = "generator_style"
    setting = "lambda_style"
    curve = Curve(panel="style loss", unit="relative to the photo's Gram matrices")

    def weight(self, progress: float) -> float:
        """Return 0 at first: the generator learns which class is where before textures."""
        loss = self.setup.config.loss
        return loss.lambda_style if progress >= loss.style_from else 0.0

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean over the segmenter's first stages."""
        features = self.features(batch, output)[:TEXTURE_STAGES]
        with torch.no_grad():
            reference = self.segmenter.features(batch.target, TEXTURE_STAGES)
        return style_distance(zip(features, reference, strict=True))


def style_distance(pairs: FeaturePairs) -> torch.Tensor:
    """Return the distance of Gram matrices, relative to the reference's, a scalar.

    Gatys et al. 2016, "Image style transfer using convolutional neural networks", equation 3.
    """
    return feature_distance((_gram(features), _gram(reference)) for features, reference in pairs)


def _gram(features: torch.Tensor) -> torch.Tensor:
    flat = features.float().flatten(2)  # (N, C, h * w)
    return flat @ flat.transpose(1, 2) / flat.shape[2]  # (N, C, C)
