"""The losses; a new one is a new file and a line in a list here."""

from __future__ import annotations

from p2p_train.config import TrainConfig

from .adversarial import AdversarialLoss, DiscriminatorLoss, FakeLoss, RealLoss
from .base import Curve, GeneratorLoss, Loss, LossSetup
from .distil import DistilFeatureLoss, DistilL1Loss, DistilSsimLoss, DistilStyleLoss
from .l1 import L1Loss
from .pattern import PatternLoss
from .semantic import SemanticLoss

__all__ = ["GENERATOR_LOSSES", "discriminator_losses", "generator_losses", "loss_curves"]

GENERATOR_LOSSES: list[type[GeneratorLoss]] = [
    L1Loss,
    AdversarialLoss,
    SemanticLoss,
    PatternLoss,
    DistilL1Loss,
    DistilSsimLoss,
    DistilFeatureLoss,
    DistilStyleLoss,
]
"""The generator's losses, in the order in which a step computes them."""

DISCRIMINATOR_LOSSES: list[type[DiscriminatorLoss]] = [RealLoss, FakeLoss]
"""The discriminator's losses."""


def generator_losses(setup: LossSetup) -> list[GeneratorLoss]:
    """Make the losses of the generator that apply to a run."""
    return [loss(setup) for loss in GENERATOR_LOSSES if loss.applies(setup.config)]


def discriminator_losses(setup: LossSetup) -> list[DiscriminatorLoss]:
    """Make the losses of the discriminator; none in a run without one."""
    return [loss(setup) for loss in DISCRIMINATOR_LOSSES if loss.applies(setup.config)]


def loss_curves(config: TrainConfig) -> dict[str, Curve]:
    """Return the curve of each loss that a run logs, by name."""
    losses: list[type[Loss]] = [*GENERATOR_LOSSES, *DISCRIMINATOR_LOSSES]
    return {loss.name: loss.curve for loss in losses if loss.applies(config)}
