"""The pattern loss: pictures should not share their texture at fixed places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from p2p_train.data.dataset import CORNER_PX
from p2p_train.metrics.pattern import WINDOW_PX
from p2p_train.networks.pixels import HALF_RANGE, luma

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch, LossSetup

__all__ = ["PatternLoss", "TextureMemory"]

UNIT = 0.1
"""A strong texture, in [-1, 1] signal units: 13 levels of 255."""

PICTURES = 128
"""Number of earlier pictures that are remembered."""

MAX_PIXELS = 1 << 24
"""Maximum number of pixels that are remembered; larger pictures are fewer: 32 MB of textures."""

CELL_PX = CORNER_PX
"""Side of the squares by which label maps are compared; they begin where crops can."""

AROUND_CELLS = 9
"""Side of the square around each place in which labels should agree."""

SHARPNESS = 16
"""Power of the share that agrees: 99 % count .85, 90 % count .19, 80 % count .03."""

NOWHERE = -1.0
"""In place of a label, where nothing is remembered or no pixel counts."""

PRIOR_PICTURES = 1
"""Pictures without texture that each mean counts, too: a mean of one picture is no pattern."""


class PatternLoss(GeneratorLoss):
    """Square of the texture that recent pictures share at fixed places.

    A generator sees one colour on a road or a wall, and tends to repeat one texture at the same
    places of every picture, or wherever the labels around have the same outline. So surfaces of one
    label are compared where labels around are alike; all others, whatever their labels, as a mark
    that is forbidden on a road can move to its edge. Texture at other places costs nothing.
    """

    name = "generator_pattern"
    setting = "lambda_pattern"
    curve = Curve(panel="fixed pattern", unit="square of 13 levels")

    def __init__(self, setup: LossSetup) -> None:
        super().__init__(setup)
        data = setup.config.data
        jitter_px = 0 if data.crop is None else data.jitter_px
        self.memory: TextureMemory = TextureMemory(data.height + jitter_px, data.width + jitter_px)

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the square; its expectation is 0 where textures lie at random places."""
        square: torch.Tensor = self.memory(batch.source, output.image, batch.ignored, batch.corners)
        return square


class TextureMemory(nn.Module):
    """Remembers recent label maps, and the textures of the pictures made of them.

    With several processes, each remembers its own pictures, and checkpoints hold the first one's.

    Args:
        height, width: of whole pictures, in pixels.
    """

    labels: torch.Tensor
    plain: torch.Tensor
    textures: torch.Tensor
    added: torch.Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        pictures = max(1, min(PICTURES, MAX_PIXELS // (height * width)))
        cells = (pictures, -(-height // CELL_PX), -(-width // CELL_PX))
        self.register_buffer("labels", torch.full(cells, NOWHERE))
        self.register_buffer("plain", torch.zeros(cells, dtype=torch.bool))
        # (h, w, M, CELL_PX^2), as matrices of the mean's product
        textures = torch.zeros(*cells[1:], pictures, CELL_PX**2, dtype=torch.bfloat16)
        self.register_buffer("textures", textures)
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))  # pictures, ever

    def forward(
        self,
        source: torch.Tensor,
        image: torch.Tensor,
        ignored: torch.Tensor | None = None,
        corners: Sequence[tuple[int, int]] | None = None,
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
            corners: (top, left) of each in its whole picture, in pixels; None if these are whole.

        Returns:
            In units of :data:`UNIT` squared, over all pixels; 0 as long as nothing is remembered.
        """
        # A number for each colour; 24 bits are exact in float32.
        red, green, blue = ((source.float() + 1) * HALF_RANGE).round().unbind(1)  # (N, H, W) each
        label = red + green * (1 << 8) + blue * (1 << 16)
        plain = _box_sums(_edges(label), WINDOW_PX) == 0
        middle = slice(CELL_PX // 2, None, CELL_PX)
        labels, surfaces = label[:, middle, middle], plain[:, middle, middle]  # (N, h, w)
        if ignored is not None:
            labels = labels.masked_fill(ignored[:, 0, middle, middle], NOWHERE)
        texture = functional.pixel_unshuffle(_texture(image.float())[:, None], CELL_PX)
        texture = texture.movedim(1, 3) * (labels != NOWHERE)[..., None] / UNIT  # (N, h, w, C)
        places = [_cells(*corner, labels[0]) for corner in corners or [(0, 0)] * len(labels)]
        seen = zip(labels, surfaces, places, strict=True)
        pattern = torch.stack([self._pattern(*one) for one in seen])
        # The remembered pattern is some steps old: without this bound, a large weight makes the
        # generator reverse it, again and again, with more contrast each time.
        product = (texture * pattern).mean(dim=(1, 2, 3)).clamp_min(0).mean()
        for one in zip(labels, surfaces, texture.detach(), places, strict=True):
            self._add(*one)
        return product

    @torch.no_grad()
    def _pattern(
        self, label: torch.Tensor, plain: torch.Tensor, places: tuple[slice, slice]
    ) -> torch.Tensor:
        # The mean texture at each place, (h, w, C): of plain surfaces, over the pictures with like
        # labels around; elsewhere, over all that are not plain there
        rows, columns = places
        labels, surfaces = self.labels[:, rows, columns], self.plain[:, rows, columns]  # (M, h, w)
        known = labels != NOWHERE
        same = known & (labels == label)
        shared = _box_sums(known.float(), AROUND_CELLS).clamp_min(1)  # around parts of crops, fewer
        weights = (_box_sums(same.float(), AROUND_CELLS) / shared) ** SHARPNESS * (same & surfaces)
        weights = torch.where(plain, weights, (known & ~surfaces).float())
        sums = torch.einsum("mhw,hwmc->hwc", weights.bfloat16(), self.textures[places]).float()
        return sums / (weights.sum(0) + PRIOR_PICTURES)[..., None]

    def _add(
        self,
        label: torch.Tensor,
        plain: torch.Tensor,
        texture: torch.Tensor,
        places: tuple[slice, slice],
    ) -> None:
        oldest = (self.added % len(self.labels))[None]
        rows, columns = places
        self.labels.index_fill_(0, oldest, NOWHERE)
        self.labels[:, rows, columns].index_copy_(0, oldest, label[None])
        self.plain[:, rows, columns].index_copy_(0, oldest, plain[None])
        texture = texture[:, :, None].to(self.textures.dtype)  # (h, w, 1, C)
        self.textures[places].index_copy_(2, oldest, texture)
        self.added += 1


def _cells(top: int, left: int, label: torch.Tensor) -> tuple[slice, slice]:
    # The rows and columns of cells (h, w) in the whole picture
    rows, columns = top // CELL_PX, left // CELL_PX
    return slice(rows, rows + label.shape[0]), slice(columns, columns + label.shape[1])


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
