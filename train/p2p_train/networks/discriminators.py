"""PatchGAN discriminator of pix2pix: Isola et al. 2017, arXiv 1611.07004, section 6.1."""

from __future__ import annotations

import torch
from torch import nn

from .geometry import Norm
from .norms import init_weights, norm_layers

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """70x70 PatchGAN: classifies each 70x70 px patch as real or generated, given the input.

    Args:
        ndf: channels after the first layer.
        norm: ``batch`` or ``instance``; the first and the last layer have none.
    """

    def __init__(self, *, ndf: int = 64, norm: Norm = "batch") -> None:
        super().__init__()
        # Input and image, three channels each
        layers: list[nn.Module] = [nn.Conv2d(6, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        # Stride 1 leaves a map one pixel smaller: 32 -> 31 -> 30 px for a 256 px image.
        for width, stride in ((ndf, 2), (2 * ndf, 2), (4 * ndf, 1)):
            layers += [
                nn.Conv2d(width, 2 * width, 4, stride=stride, padding=1, bias=False),
                *norm_layers(norm, 2 * width),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(8 * ndf, 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*layers)
        self.apply(init_weights)

    def forward(self, source: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Classify the patches of real or generated images, given the generator's inputs.

        From (N, 3, H, W) in [-1, 1] each to logits, (N, 1, h, w), one a patch, above 0 for real;
        30x30 for 256x256 px.
        """
        logits: torch.Tensor = self.layers(torch.cat([source, image], dim=1))  # from (N, 6, H, W)
        return logits

    def features(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the stride-2 layers, fine to coarse.

        They are (N, ndf, H/2, W/2), (N, 2 ndf, H/4, W/4) and (N, 4 ndf, H/8, W/8). The first layer
        of stride 1 is left out, which alone costs more than all before it.
        """
        signal = torch.cat([source, image], dim=1)  # (N, 6, H, W)
        found = []
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1):
                break
            signal = layer(signal)
            if isinstance(layer, nn.LeakyReLU):
                found.append(signal)
        return found
