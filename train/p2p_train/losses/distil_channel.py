"""Distance of the generators' own channel means: arXiv 2108.06908, equation 8."""

from __future__ import annotations

import torch
from torch import nn

from .base import (
    TINY,
    DistillationLoss,
    FeaturePairs,
    GeneratorOutput,
    LossBatch,
    LossSetup,
    distillation_curve,
)

__all__ = ["DistilChannelLoss", "channel_distance"]

TAPS = (1, 3, -4, -2)
"""Blocks whose channels are compared: at 1/4 and 1/16 of the image, in encoder and decoder."""


class DistilChannelLoss(DistillationLoss):
    """Distance of channel means in some blocks of both generators.

    Attributes:
        trainable: one adapter a block, which brings the student's channels to the number of the
            teacher's. They are trained with the student and are not exported.
    """

    name = "distil_channel"
    setting = "lambda_distil_channel"
    curve = distillation_curve("channels")

    def __init__(self, setup: LossSetup) -> None:
        super().__init__(setup)
        both = (setup.generator, self.teacher.generator)
        ours, theirs = ([*one.encoder, *one.decoder] for one in both)
        self.trainable = nn.ModuleList(
            _adapter(ours[tap][0].out_channels, theirs[tap][0].out_channels) for tap in TAPS
        )

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean over the blocks."""
        assert isinstance(self.trainable, nn.ModuleList)
        reference = self.teacher_output(batch).features
        return channel_distance(
            (adapter(output.features[tap].float()), reference[tap])
            for tap, adapter in zip(TAPS, self.trainable, strict=True)
        )


def channel_distance(pairs: FeaturePairs) -> torch.Tensor:
    """Return the mean square distance of the channels' means, relative to their mean square.

    The mean of a channel over an image says how much the channel matters to it.
    """
    distances = []
    for pair in pairs:
        ours, theirs = (features.float().mean(dim=(2, 3)) for features in pair)  # (N, C)
        square = nn.functional.mse_loss(ours, theirs)
        distances.append(square / (theirs.square().mean() + TINY))
    return torch.stack(distances).mean()


def _adapter(student: int, teacher: int) -> nn.Module:
    convolution = nn.Conv2d(student, teacher, 1)
    nn.init.kaiming_normal_(convolution.weight, a=0.2)
    return nn.Sequential(convolution, nn.LeakyReLU(0.2))
