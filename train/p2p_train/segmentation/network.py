"""The judge's network: a small encoder with a top-down path, made to be trained on two cores."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

__all__ = ["TEXTURE_STAGES", "SegmentationNet"]

TEXTURE_STAGES = 2
"""The stages that see texture, at 1/4 and 1/8 of the image; further ones see things."""


class SegmentationNet(nn.Module):
    """Says of every second pixel which class it shows.

    Four stages bring the image to 1/4, 1/8, 1/16 and 1/32; their maps are merged from the coarsest
    up as in a feature pyramid (Lin et al. 2017, arXiv 1612.03144), by addition.

    Args:
        classes: channels of the answer.
        width: channels at 1/4; 32 gives 1.0 M parameters and 0.3 GMAC at 256x256.
    """

    def __init__(self, *, classes: int, width: int = 32) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(*_convolution(3, width, size=4, stride=4), _Block(width)),
                *(
                    nn.Sequential(*_convolution(before, after, stride=2), _Block(after))
                    for before, after in itertools.pairwise(widths)
                ),
            ]
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.smooth = nn.Sequential(*_convolution(width, width))
        self.answer = nn.Conv2d(width, classes, 1)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Turn (N, 3, H, W) in [-1, 1] into logits (N, classes, H / 2, W / 2)."""
        return self.read(self.maps(signal))

    def read(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Turn what :meth:`maps` returned into logits (N, classes, H / 2, W / 2)."""
        merged: torch.Tensor = self.laterals[-1](maps[-1])  # (N, width, H / 32, W / 32)
        for lateral, fine in zip(reversed(self.laterals[:-1]), reversed(maps[:-1]), strict=True):
            coarse = functional.interpolate(merged, size=fine.shape[2:], mode="bilinear")
            merged = functional.relu(lateral(fine) + coarse)
        logits = self.answer(self.smooth(merged))  # (N, classes, H / 4, W / 4)
        return functional.interpolate(logits, scale_factor=2, mode="bilinear")

    def features(self, signal: torch.Tensor) -> torch.Tensor:
        """Return the texture that is seen, averaged over each image: (N, 3 width)."""
        maps = self.maps(signal, TEXTURE_STAGES)
        return torch.cat([m.float().mean(dim=(2, 3)) for m in maps], dim=1)

    def maps(self, signal: torch.Tensor, stages: int | None = None) -> list[torch.Tensor]:
        """Return what each stage sees, at 1/4, 1/8, 1/16 and 1/32 of (N, 3, H, W).

        Args:
            signal: images, (N, 3, H, W) in [-1, 1].
            stages: only the first so many; None for all.
        """
        maps = []
        for stage in self.stages[:stages]:
            signal = stage(signal)
            maps.append(signal)
        return maps


class _Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return functional.relu(signal + self.body(signal))


def _convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> list[nn.Module]:
    padding = 1 if size == 3 else 0
    return [
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
