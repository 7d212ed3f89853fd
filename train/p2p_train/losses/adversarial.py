"""The adversarial losses of generator and discriminator.

Isola et al. 2017 (arXiv 1611.07004), equations 1 to 4, with the non-saturating generator loss and
the discriminator's loss halved, as in section 3.3; least squares and hinge as alternatives.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn import functional

from p2p_train.config import GanLoss, TrainConfig
from p2p_train.devices import autocast

from .base import Curve, GeneratorLoss, GeneratorOutput, Loss, LossBatch

__all__ = ["AdversarialLoss", "DiscriminatorLoss", "FakeLoss", "RealLoss", "patch_loss"]

PANEL, UNIT = "adversarial losses", "mean over the epoch"


def patch_loss(kind: GanLoss, logits: torch.Tensor, *, real: bool) -> torch.Tensor:
    """Return the mean distance of a discriminator's logits to what they should say.

    They are (N, 1, h, w), one a patch, above 0 for real. ``hinge`` is equation 3 of arXiv
    1705.02894.
    """
    logits = logits.float()
    if kind == "hinge":
        return functional.relu(1 - logits if real else 1 + logits).mean()
    labels = torch.full_like(logits, 1.0 if real else 0.0)
    return functional.binary_cross_entropy_with_logits(logits, labels)


class AdversarialLoss(GeneratorLoss):
    """How far the discriminator is from taking generated images for real ones."""

    name = "generator_adversarial"
    setting = "lambda_gan"
    curve = Curve(panel=PANEL, unit=UNIT, label="G", progress=("G", 3))

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Apply to runs with a discriminator."""
        return config.loss.gan_loss != "none"

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; gradients flow through the discriminator, whose weights are fixed."""
        discriminator, kind = self.setup.discriminator, self.setup.config.loss.gan_loss
        assert discriminator is not None
        with autocast(self.setup.config.precision, batch.source.device):
            logits: torch.Tensor = discriminator(batch.source, output.image)  # (N, 1, h, w)
        if kind == "hinge":  # without a margin: the generator's logits have no bound to reach
            return -logits.float().mean()
        return patch_loss(kind, logits, real=True)


class DiscriminatorLoss(Loss):
    """One term of what the discriminator minimises: how far patches are from being classified.

    They are those of ``real`` images, or of generated ones. The weights are halves, so that the
    discriminator learns more slowly (section 3.3).
    """

    weight: ClassVar[float] = 0.5
    real: ClassVar[bool]

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Apply to runs with a discriminator."""
        return config.loss.gan_loss != "none"

    def __call__(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return the unweighted loss of logits of real and of generated images, (N, 1, h, w)."""
        logits = real if self.real else fake
        return patch_loss(self.setup.config.loss.gan_loss, logits, real=self.real)


class RealLoss(DiscriminatorLoss):
    """How far real patches are from being classified as real."""

    name = "discriminator_real"
    curve = Curve(panel=PANEL, unit=UNIT, label="D, real", progress=("D real", 3))
    real = True


class FakeLoss(DiscriminatorLoss):
    """How far generated patches are from being classified as generated."""

    name = "discriminator_fake"
    curve = Curve(panel=PANEL, unit=UNIT, label="D, fake", progress=("fake", 3))
    real = False
