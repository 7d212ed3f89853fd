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

PICTURES = 128
"""Number of earlier pictures that are remembered."""

MAX_PIXELS = 1 << 23
"""Maximum number of pixels that are remembered; larger pictures are fewer: 16 MB of textures."""

CELL_PX = 8
"""Side of the squares by which label maps are compared; picture sizes are multiples of it."""

AROUND_CELLS = 9
"""Side of the square around each place in which labels should agree."""

SHARPNESS = 16
"""Power of the share that agrees: 99 % count .85, 90 % count .19, 80 % count .03."""

PRIOR_PICTURES = 1
"""Pictures without texture that each mean counts, too: a mean of one picture is no pattern."""


class PatternLoss(GeneratorLoss):
    """Square of the texture on plain surfaces that recent pictures of like label maps share.

    A generator sees one colour on a road or a wall, and tends to repeat one texture at the same
    places of every picture, or wherever the labels around have the same outline. Texture at other
    places costs nothing.
    """

    name = "generator_pattern"
    setting = "lambda_pattern"
    curve = Curve(panel="fixed pattern", unit="square of 13 levels")

    def __init__(self, setup: LossSetup) -> None:
        super().__init__(setup)
        width, height = setup.config.data.trained_size
        self.memory: TextureMemory = TextureMemory(height, width)

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the square; its expectation is 0 where textures lie at random places."""
        square: torch.Tensor = self.memory(batch.source, output.image, batch.ignored)
        return square


class TextureMemory(nn.Module):
    """Remembers recent label maps, and the textures of the pictures made of them.

    With several processes, each remembers its own pictures, and checkpoints hold the first one's.

    Args:
        height, width: of the pictures, in pixels; multiples of :data:`CELL_PX`.
    """

    labels: torch.Tensor
    surfaces: torch.Tensor
    textures: torch.Tensor
    added: torch.Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        pictures = max(1, min(PICTURES, MAX_PIXELS // (height * width)))
        cells = (pictures, height // CELL_PX, width // CELL_PX)
        self.register_buffer("labels", torch.zeros(cells))
        self.register_buffer("surfaces", torch.zeros(cells, dtype=torch.bool))  # False while empty
        # (h, w, M, CELL_PX^2), as matrices of the mean's product
        textures = torch.zeros(*cells[1:], pictures, CELL_PX**2, dtype=torch.bfloat16)
        self.register_buffer("textures", textures)
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))  # pictures, ever

    def forward(
        self, source: torch.Tensor, image: torch.Tensor, ignored: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean product of these pictures' textures and the remembered ones; add these.

        Its expectation is the square of the fixed pattern. A picture with the pattern's reverse
        costs nothing. The unit is constant: a share of the
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
        plain = _box_sums(_edges(label), WINDOW_PX) == 0
        if ignored is not None:
            plain &= ~ignored[:, 0]
        middle = slice(CELL_PX // 2, None, CELL_PX)
        labels, surfaces = label[:, middle, middle], plain[:, middle, middle]  # (N, h, w)
        texture = functional.pixel_unshuffle(_texture(image.float())[:, None], CELL_PX)
        texture = texture.movedim(1, 3) * surfaces[..., None] / UNIT  # (N, h, w, CELL_PX^2)
        # The remembered pattern is some steps old: without this bound, a large weight makes the
        # generator reverse it, again and again, with more contrast each time.
        product = (texture * self._pattern(labels)).mean(dim=(1, 2, 3)).clamp_min(0).mean()
        self._add(labels, surfaces, texture.detach())
        return product

    @torch.no_grad()
    def _pattern(self, labels: torch.Tensor) -> torch.Tensor:
        # The mean texture at each place, over pictures with like labels around it
        same = labels[:, None] == self.labels  # (N, M, h, w)
        around = _box_means(same.flatten(0, 1).float(), AROUND_CELLS)
        weights = around.view(same.shape) ** SHARPNESS * (same & self.surfaces)
        sums = torch.einsum("nmhw,hwmc->nhwc", weights.bfloat16(), self.textures).float()
        return sums / (weights.sum(1) + PRIOR_PICTURES)[..., None]

    def _add(self, labels: torch.Tensor, surfaces: torch.Tensor, texture: torch.Tensor) -> None:
        # In the place of the oldest
        count = min(len(labels), len(self.labels))
        places = (self.added + torch.arange(count, device=labels.device)) % len(self.labels)
        self.labels.index_copy_(0, places, labels[:count])
        self.surfaces.index_copy_(0, places, surfaces[:count])
        textures = texture[:count].movedim(0, 2).to(self.textures.dtype)  # (h, w, N, CELL_PX^2)
        self.textures.index_copy_(2, places, textures)
        self.added += count


def _texture(image: torch.Tensor) -> torch.Tensor:
    # Brightness less its local mean, (N, H, W)
    brightness = luma(image)[:, 0]
    return brightness - _box_means(brightness, WINDOW_PX)


def _edges(label: torch.Tensor) -> torch.Tensor:
    # 1 where the pixel above or to the left has another label, else 0
    edges = torch.zeros_like(label, dtype=torch.bool)
    edges[:, 1:] |= label[:, 1:] != label[:, :-1]
    edges[:, :, 1:] |= label[:, :, 1:] != label[:, :, :-1]
    return edges.float()


def _box_means(signal: torch.Tensor, side: int) -> torch.Tensor:
    # Means over the square around each pixel, of those within the picture
    return _box_sums(signal, side) / _box_sums(torch.ones_like(signal[:1]), side)


def _box_sums(signal: torch.Tensor, side: int) -> torch.Tensor:
    # Sums over the square around each pixel, (N, H, W); squares at the border are cut.
    for axis in (1, 2):
        sums = functional.pad(signal.transpose(axis, 2).cumsum(2), (1, 0)).transpose(axis, 2)
        places = torch.arange(signal.shape[axis], device=signal.device)
        last = (places + side // 2 + 1).clamp(max=signal.shape[axis])
        first = (places - side // 2).clamp(min=0)
        signal = sums.index_select(axis, last) - sums.index_select(axis, first)
    return signal
