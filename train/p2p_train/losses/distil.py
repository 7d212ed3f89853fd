"""The distances to a teacher: of the pictures, and of its discriminator's features of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

from p2p_train.config import TrainConfig
from p2p_train.distillation import Teacher
from p2p_train.networks.pixels import luma

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch

__all__ = [
    "DistilFeatureLoss", "DistilL1Loss", "DistilSsimLoss", "DistilStyleLoss", "dissimilarity",
    "feature_distance", "style_distance",
]  # fmt: skip

FeaturePairs = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""Features of the image and of its reference, (N, C, h, w) each, fine to coarse."""

TINY = 1e-6
"""Added to a divisor, so that constant features are no division by zero."""

WINDOW_PX = 8
STRIDE_PX = 4
SIGNAL_RANGE = 2.0


def distillation_curve(label: str, progress: tuple[str, int] | None = None) -> Curve:
    """Return a curve in the distillation losses' panel."""
    return Curve(panel="distance to the teacher", label=label, unit="0 = equal", progress=progress)


class DistillationLoss(GeneratorLoss):
    """A distance between the generator and its teacher.

    Losses of features are relative to the teacher's values, so that a weight means the same
    whatever the features' scale.
    """

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Return whether there is a teacher and the weight is not 0."""
        return config.loss.teacher is not None and super().applies(config)

    @property
    def teacher(self) -> Teacher:
        """The teacher, which exists wherever the loss applies."""
        assert self.setup.teacher is not None
        return self.setup.teacher

    def teacher_image(self, batch: LossBatch) -> torch.Tensor:
        """Return what the teacher makes of the inputs, without gradients."""
        return batch.once("teacher image", lambda: self.teacher.translate(batch.source))

    def feature_pairs(self, batch: LossBatch, output: GeneratorOutput) -> FeaturePairs:
        """Return features of both images, as the teacher's discriminator computes them."""
        features = batch.once("features", lambda: self.teacher.features(batch.source, output.image))
        reference = batch.once("teacher features", lambda: self._teacher_features(batch))
        return list(zip(features, reference, strict=True))

    @torch.no_grad()
    def _teacher_features(self, batch: LossBatch) -> list[torch.Tensor]:
        return self.teacher.features(batch.source, self.teacher_image(batch))


class DistilL1Loss(DistillationLoss):
    """Mean absolute difference to the teacher's image, in [-1, 1] signal units."""

    name = "distil_l1"
    setting = "lambda_distil_l1"
    curve = distillation_curve("L1", progress=("to the teacher", 4))

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; in float32, whatever the generators ran in."""
        return functional.l1_loss(output.image.float(), self.teacher_image(batch).float())


class DistilSsimLoss(DistillationLoss):
    """1 - SSIM to the teacher's image."""

    name = "distil_ssim"
    setting = "lambda_distil_ssim"
    curve = distillation_curve("1 - SSIM")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`dissimilarity`."""
        return dissimilarity(output.image, self.teacher_image(batch))


class DistilFeatureLoss(DistillationLoss):
    """Distance of the teacher's discriminator's features of both images."""

    name = "distil_feature"
    setting = "lambda_distil_feature"
    curve = distillation_curve("features")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`feature_distance`."""
        return feature_distance(self.feature_pairs(batch, output))


class DistilStyleLoss(DistillationLoss):
    """Distance of Gram matrices of the teacher's discriminator's features of both images."""

    name = "distil_style"
    setting = "lambda_distil_style"
    curve = distillation_curve("style")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`style_distance`."""
        return style_distance(self.feature_pairs(batch, output))


def dissimilarity(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return 1 - SSIM of the luma of two signals, a scalar.

    Wang et al. 2004, equation 13, with flat windows of 8 px every 4 px, as that paper's section
    III-B begins with; they cost a tenth of the Gaussian window. Signals are (N, 3, H, W) RGB in
    [-1, 1].
    """
    x, y = luma(image), luma(reference)
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)  # (N, 5, H, W)
    # One value a window: (N, 5, h, w) -> five of (N, h, w)
    mean_x, mean_y, xx, yy, xy = functional.avg_pool2d(moments, WINDOW_PX, STRIDE_PX).unbind(dim=1)
    means, c1, c2 = mean_x * mean_y, (0.01 * SIGNAL_RANGE) ** 2, (0.03 * SIGNAL_RANGE) ** 2
    squares = mean_x.square() + mean_y.square()
    covariance, variances = xy - means, xx + yy - squares
    similar = (2 * means + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return 1 - similar.mean()


def feature_distance(pairs: FeaturePairs) -> torch.Tensor:
    """Return the mean L1 of the pairs, each relative to its reference's mean magnitude."""
    distances = []
    for pair in pairs:
        ours, theirs = (features.float() for features in pair)
        distances.append(functional.l1_loss(ours, theirs) / (theirs.abs().mean() + TINY))
    return torch.stack(distances).mean()


def style_distance(pairs: FeaturePairs) -> torch.Tensor:
    """Return the distance of Gram matrices, relative to the reference's, a scalar.

    Gatys et al. 2016, "Image style transfer using convolutional neural networks", equation 3.
    """
    return feature_distance((_gram(features), _gram(reference)) for features, reference in pairs)


def _gram(features: torch.Tensor) -> torch.Tensor:
    flat = features.float().flatten(2)  # (N, C, h * w)
    return flat @ flat.transpose(1, 2) / flat.shape[2]  # (N, C, C)
