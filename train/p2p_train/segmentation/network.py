"""The segmenter's network: a small encoder with a feature pyramid, trainable on two CPU cores."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

__all__ = ["SegmentationNet"]

TEXTURE_STAGES = 2
"""Number of stages whose features describe texture, at 1/4 and 1/8 of the image."""


class SegmentationNet(nn.Module):
    """Classifies every second pixel of an image along each axis.

    Four stages compute feature maps at 1/4, 1/8, 1/16 and 1/32 of the image. They are merged from
    the coarsest up by addition, as in a feature pyramid (Lin et al. 2017, arXiv 1612.03144).

    Args:
        classes: number of classes.
        width: channels at 1/4; 32 gives 1.0 M parameters and 0.3 GMAC at 256x256 px.
    """

    def __init__(self, *, classes: int, width: int = 32) -> None:
        super().__init__()
        self.width = width
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(*_convolution(before, after, stride), ResidualBlock(after))
            for before, after, stride in zip([3, *widths[:-1]], widths, (4, 2, 2, 2), strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.smooth = nn.Sequential(*_convolution(width, width))
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes, H / 2, W / 2) of images (N, 3, H, W) in [-1, 1]."""
        maps = self._feature_maps(signal)
        merged: torch.Tensor = self.laterals[-1](maps[-1])  # (N, width, H / 32, W / 32)
        for lateral, fine in zip(reversed(self.laterals[:-1]), reversed(maps[:-1]), strict=True):
            coarse = functional.interpolate(merged, size=fine.shape[2:], mode="bilinear")
            merged = functional.relu(lateral(fine) + coarse)
        logits = self.classifier(self.smooth(merged))  # (N, classes, H / 4, W / 4)
        return functional.interpolate(logits, scale_factor=2, mode="bilinear")

    def features(self, signal: torch.Tensor) -> torch.Tensor:
        """Return each image's mean texture features: (N, 3 width)."""
        maps = self._feature_maps(signal, TEXTURE_STAGES)
        return torch.cat([m.float().mean(dim=(2, 3)) for m in maps], dim=1)

    def _feature_maps(self, signal: torch.Tensor, stages: int | None = None) -> list[torch.Tensor]:
        """Return feature maps of the first ``stages``, or of all: 1/4 to 1/32 of the size."""
        maps = []
        for stage in self.stages[:stages]:
            signal = stage(signal)
            maps.append(signal)
        return maps


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Refine (N, channels, h, w)."""
        return functional.relu(signal + self.body(signal))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    size, padding = (4, 0) if stride == 4 else (3, 1)
    return [
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
