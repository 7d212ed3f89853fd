"""The pattern loss: pictures should not share their texture at fixed places."""

from __future__ import annotations

import torch
from torch.nn import functional

from p2p_train.metrics.pattern import WINDOW_PX
from p2p_train.networks.pixels import HALF_RANGE, luma

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch

__all__ = ["PatternLoss", "pattern_square"]

UNIT = 0.1
"""A strong texture, in [-1, 1] signal units: 13 levels of 255."""


class PatternLoss(GeneratorLoss):
    """Square of the texture on plain surfaces that the pictures of a micro-batch have in common.

    A generator sees one colour on a road or a wall, and tends to repeat one texture at the same
    places of every picture. Texture at other places costs nothing.
    """

    name = "generator_pattern"
    setting = "lambda_pattern"
    curve = Curve(panel="fixed pattern", unit="square of 13 levels")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the square; its expectation is 0 where textures lie at random places."""
        return pattern_square(batch.source, output.image, batch.ignored)


def pattern_square(
    source: torch.Tensor, image: torch.Tensor, ignored: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean product of textures at equal places with equal labels, a scalar.

    Its expectation is the square of the fixed pattern. The divisor is constant: a share of the
    pictures' own texture could be lowered by noise, and one of the photos' has no bound where
    photos are plain.

    Args:
        source: label colours, (N, 3, H, W).
        image: pictures made of them, (N, 3, H, W) RGB in [-1, 1].
        ignored: which pixels do not count, (N, 1, H, W); None if all do.

    Returns:
        In units of :data:`UNIT` squared, over all pixels; 0 for a single picture.
    """
    # A number for each colour; 24 bits are exact in float32.
    red, green, blue = ((source.float() + 1) * HALF_RANGE).round().unbind(1)  # (N, H, W) each
    label = red + green * (1 << 8) + blue * (1 << 16)
    plain = _box_sums(_edges(label)) == 0
    if ignored is not None:
        plain &= ~ignored[:, 0]
    both = plain & plain.roll(1, 0) & (label == label.roll(1, 0))  # each with its neighbour
    if len(image) < 2:
        both = torch.zeros_like(both)
    texture = _texture(image) / UNIT
    return (texture * texture.roll(1, 0) * both).mean()


def _texture(image: torch.Tensor) -> torch.Tensor:
    # Brightness less its local mean, (N, H, W)
    brightness = luma(image)[:, 0]
    return brightness - _box_sums(brightness) / _box_sums(torch.ones_like(brightness[:1]))


def _edges(label: torch.Tensor) -> torch.Tensor:
    # 1 where the pixel above or to the left has another label, else 0
    edges = torch.zeros_like(label, dtype=torch.bool)
    edges[:, 1:] |= label[:, 1:] != label[:, :-1]
    edges[:, :, 1:] |= label[:, :, 1:] != label[:, :, :-1]
    return edges.float()


def _box_sums(signal: torch.Tensor) -> torch.Tensor:
    # Sums over the square around each pixel, (N, H, W); squares at the border are cut.
    for axis in (1, 2):
        sums = functional.pad(signal.transpose(axis, 2).cumsum(2), (1, 0)).transpose(axis, 2)
        places = torch.arange(signal.shape[axis], device=signal.device)
        last = (places + WINDOW_PX // 2 + 1).clamp(max=signal.shape[axis])
        first = (places - WINDOW_PX // 2).clamp(min=0)
        signal = sums.index_select(axis, last) - sums.index_select(axis, first)
    return signal
