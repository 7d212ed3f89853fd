"""The pattern loss: pictures should not share their texture at fixed places."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from p2p_train.metrics.pattern import WINDOW_PX
from p2p_train.networks.pixels import HALF_RANGE, luma

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch, LossSetup

__all__ = ["PatternLoss", "TextureMemory"]

UNIT = 0.1
"""A strong texture, in [-1, 1] signal units: 13 levels of 255."""

MAX_LABELS = 16
"""Maximum number of labels whose textures are remembered, first come, first served."""

KEPT = 0.95
"""Share of the memory that a step keeps: at batch 4, it holds the last 80 pictures or so."""

PRIOR_PICTURES = 2
"""Pictures without texture that each mean counts, too: a mean of one picture is no pattern."""


class PatternLoss(GeneratorLoss):
    """Square of the texture on plain surfaces that recent pictures have in common.

    A generator sees one colour on a road or a wall, and tends to repeat one texture at the same
    places of every picture. Texture at other places costs nothing.
    """

    name = "generator_pattern"
    setting = "lambda_pattern"
    curve = Curve(panel="fixed pattern", unit="square of 13 levels")

    def __init__(self, setup: LossSetup) -> None:
        super().__init__(setup)
        width, height = setup.config.data.image_size
        self.memory: TextureMemory = TextureMemory(height, width)

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the square; its expectation is 0 where textures lie at random places."""
        square: torch.Tensor = self.memory(batch.source, output.image, batch.ignored)
        return square


class TextureMemory(nn.Module):
    """Remembers the mean texture of each label's plain surface at each place of recent pictures.

    With several processes, each remembers its own pictures, and checkpoints hold the first one's.

    Args:
        height, width: of the pictures, in pixels.
    """

    labels: torch.Tensor
    sums: torch.Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.register_buffer("labels", torch.full((MAX_LABELS,), -1.0))
        # The sum of the textures, and the number of pictures
        self.register_buffer("sums", torch.zeros(MAX_LABELS, 2, height, width))

    def forward(
        self, source: torch.Tensor, image: torch.Tensor, ignored: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean product of these pictures' textures and the remembered ones; add these.

        Its expectation is the square of the fixed pattern. The unit is constant: a share of the
        pictures' own texture could be lowered by noise, and one of the photos' has no bound where
        photos are plain.

        Args:
            source: label colours, (N, 3, H, W) in [-1, 1].
            image: pictures made of them, (N, 3, H, W) RGB in [-1, 1].
            ignored: which pixels do not count, (N, 1, H, W); None if all do.

        Returns:
            In units of :data:`UNIT` squared, over all pixels; 0 as long as nothing is remembered.
        """
        # A number for each colour; 24 bits are exact in float32.
        red, green, blue = ((source.float() + 1) * HALF_RANGE).round().unbind(1)  # (N, H, W) each
        label = red + green * (1 << 8) + blue * (1 << 16)
        plain = _box_sums(_edges(label)) == 0
        if ignored is not None:
            plain &= ~ignored[:, 0]
        texture = _texture(image.float()) / UNIT
        pattern = self.sums[:, 0] / (self.sums[:, 1] + PRIOR_PICTURES)  # a copy, (L, H, W)
        self.sums *= KEPT
        product = torch.zeros_like(texture)
        for slot, surface in self._surfaces(label, plain):
            product = product + texture * surface * pattern[slot]
            found = torch.stack([(texture.detach() * surface).sum(0), surface.float().sum(0)])
            self.sums[slot] += found
        return product.mean()

    def _surfaces(self, label: torch.Tensor, plain: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
        # Slot and surface, (N, H, W), of each label that has one here
        slots = {colour: slot for slot, colour in enumerate(self.labels.tolist()) if colour >= 0}
        surfaces = []
        for colour in torch.unique(label[plain]).tolist():
            slot = slots.setdefault(colour, len(slots))
            if slot < MAX_LABELS:
                self.labels[slot] = colour
                surfaces.append((slot, plain & (label == colour)))
        return surfaces


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
