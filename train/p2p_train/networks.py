"""The two networks of pix2pix: a U-Net generator and a PatchGAN discriminator.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv 1611.07004, section 6.1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

__all__ = ["MAX_DOWNSAMPLINGS", "Norm", "PatchDiscriminator", "UNetGenerator", "downsamplings_for"]

Norm = Literal["batch", "instance"]

MAX_DOWNSAMPLINGS = 8
"""256 px -> 1 px, as in the paper."""


def downsamplings_for(height: int, width: int) -> int:
    """Return how often the U-Net halves an image: until its shorter side is 1 px, 8 times at most.

    Raises:
        ValueError: a side is not a multiple of two to that power, so that skips would not fit.
    """
    downsamplings = min(MAX_DOWNSAMPLINGS, max(min(height, width), 1).bit_length() - 1)
    step = 2**downsamplings
    if min(height, width) < 32 or height % step or width % step:
        multiple = max(step, 32)
        near = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
        raise ValueError(
            f"image size {height}x{width} does not fit the U-Net: both sides must be multiples "
            f"of {multiple} here; the nearest size is {near[0]}x{near[1]}"
        )
    return downsamplings


class Down(nn.Sequential):
    """Halve the image: Conv 4x4 stride 2, norm, LeakyReLU 0.2."""

    def __init__(self, inputs: int, outputs: int, norm: Norm | None) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=norm is None),
            *_norm_layers(norm, outputs),
            nn.LeakyReLU(0.2),
        )


class Up(nn.Sequential):
    """Double the image: ConvTranspose 4x4 stride 2, norm, dropout, ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, dropout: float) -> None:
        super().__init__(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
            *_norm_layers(norm, outputs),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.ReLU(),
        )


class UNetGenerator(nn.Module):
    """U-Net with skips by concatenation.

    With ``ngf`` 64 and 8 downsamplings the widths are 64-128-256-512-512-512-512-512: 54.41 M
    parameters and 6.05 GMAC at 256x256. The first and the innermost layer have no norm; the
    first three ups have dropout.

    Args:
        ngf: channels after the first layer.
        downsamplings: how often the image is halved, see :func:`downsamplings_for`.
        norm: ``batch`` or ``instance``.
        dropout: probability, 0 switches it off.
        channels: channels of input and output.
    """

    def __init__(
        self,
        *,
        ngf: int = 64,
        downsamplings: int = MAX_DOWNSAMPLINGS,
        norm: Norm = "batch",
        dropout: float = 0.5,
        channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [ngf * min(2**level, 8) for level in range(downsamplings)]
        inputs = [channels, *widths[:-1]]
        self.downs = nn.ModuleList(
            Down(before, after, norm if 0 < level < downsamplings - 1 else None)
            for level, (before, after) in enumerate(zip(inputs, widths, strict=True))
        )
        self.ups = nn.ModuleList()
        for level, width in enumerate(reversed(widths[:-1])):
            doubled = widths[-1] if level == 0 else 2 * widths[-1 - level]  # skip concatenated
            self.ups.append(Up(doubled, width, norm, dropout if level < 3 else 0.0))
        self.last = nn.Sequential(
            nn.ConvTranspose2d(2 * ngf, channels, 4, stride=2, padding=1), nn.Tanh()
        )
        self.apply(_initialise)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Translate (N, C, H, W) in [-1, 1] into the same shape and range."""
        skips = []
        for down in self.downs:
            signal = down(signal)
            skips.append(signal)
        skips.pop()  # the innermost goes straight up
        for up in self.ups:
            signal = torch.cat([up(signal), skips.pop()], dim=1)
        image: torch.Tensor = self.last(signal)
        return image


class PatchDiscriminator(nn.Sequential):
    """70x70 PatchGAN: says of every 70x70 px patch whether it is real, given the input.

    Args:
        ndf: channels after the first layer.
        strided: stride-2 layers; 3 give the 70x70 field of view.
        norm: ``batch`` or ``instance``; the first and the last layer have none.
        channels: channels of input plus those of the image.
    """

    def __init__(
        self, *, ndf: int = 64, strided: int = 3, norm: Norm = "batch", channels: int = 6
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(channels, ndf, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        width = ndf
        for level in range(1, strided + 1):
            wider = ndf * min(2**level, 8)
            stride = 2 if level < strided else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                *_norm_layers(norm, wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        layers.append(nn.Conv2d(width, 1, 4, stride=1, padding=1))
        super().__init__(*layers)
        self.apply(_initialise)

    def judge(self, source: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return a logit a patch, (N, 1, h, w): above 0 for real.

        Args:
            source: the generator's input, (N, 3, H, W) in [-1, 1].
            image: a real or a generated image, (N, 3, H, W) in [-1, 1].
        """
        logits: torch.Tensor = self(torch.cat([source, image], dim=1))  # (N, 6, H, W)
        return logits


def _norm_layers(norm: Norm | None, channels: int) -> list[nn.Module]:
    if norm is None:
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels, affine=True)]


def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), norm gains from N(1, 0.02): the paper, section 6.2."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
