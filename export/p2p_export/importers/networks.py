"""The generators of pytorch-CycleGAN-and-pix2pix, computed with our own layers.

Written from what that repository's ``models/networks.py`` computes, not from its code. Where its
state dicts keep each layer is in :mod:`.checkpoint`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.geometry import Norm
from p2p_train.networks.norms import norm_layers

__all__ = ["RectifiedUNet", "ResNetGenerator"]


class RectifiedUNet(UNetGenerator):
    """Our U-Net with another skip: every decoder block begins with a ReLU.

    The skip carries an activation after an in-place LeakyReLU, so that a ReLU keeps its positive
    part. Ours passes the small negative values on. The innermost block differs in the same way.
    """

    def skip(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the positive part."""
        return functional.relu(signal)


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to their input."""

    def __init__(self, channels: int, norm: Norm | None) -> None:
        super().__init__()
        first, second = (
            [*_padded(channels, channels, 3), *norm_layers(norm, channels)] for _ in range(2)
        )
        self.layers = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Refine (N, C, H, W)."""
        refined: torch.Tensor = signal + self.layers(signal)
        return refined


class ResNetGenerator(nn.Module):
    """Two downsamplings, residual blocks, two upsamplings: Johnson et al. 2016, arXiv 1603.08155.

    The first layer has ``ngf`` channels, the residual blocks four times as many.
    """

    def __init__(self, *, ngf: int, blocks: int, norm: Norm | None = "batch") -> None:
        super().__init__()
        widths = [ngf, 2 * ngf, 4 * ngf]
        self.first = nn.Sequential(*_padded(3, ngf, 7), *norm_layers(norm, ngf), nn.ReLU())
        self.encoder = nn.ModuleList(
            _normed(nn.Conv2d(before, after, 3, stride=2, padding=1), norm)
            for before, after in pairwise(widths)
        )
        self.blocks = nn.ModuleList(Residual(widths[-1], norm) for _ in range(blocks))
        self.decoder = nn.ModuleList(
            _normed(
                nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1), norm
            )
            for before, after in pairwise(widths[::-1])
        )
        self.output = nn.Sequential(*_padded(ngf, 3, 7), nn.Tanh())

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Translate (N, 3, H, W) in [-1, 1], sides multiples of 4, into the same."""
        signal = self.first(signal)  # (N, ngf, H, W)
        for layers in (*self.encoder, *self.blocks, *self.decoder):
            signal = layers(signal)  # (N, 4 ngf, H / 4, W / 4) in the residual blocks
        image: torch.Tensor = self.output(signal)
        return image


def _normed(conv: nn.Conv2d | nn.ConvTranspose2d, norm: Norm | None) -> nn.Sequential:
    return nn.Sequential(conv, *norm_layers(norm, conv.out_channels), nn.ReLU())


def _padded(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    """Return a convolution that keeps the image size; the border is mirrored."""
    return [nn.ReflectionPad2d(size // 2), nn.Conv2d(inputs, outputs, size)]
