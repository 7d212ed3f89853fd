"""PatchGAN discriminator of pix2pix: Isola et al. 2017, arXiv 1611.07004, section 6.1."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .geometry import MAX_WIDTH_RATIO, Norm
from .layers import init_weights, norm_layers

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """70x70 PatchGAN: classifies each 70x70 px patch as real or generated, given the input.

    Args:
        ndf: channels after the first layer.
        strided: number of stride-2 layers; 3 give a receptive field of 70x70 px.
        norm: ``batch`` or ``instance``; the first and the last layer have none.
        spectral: replace ``norm`` by spectral normalisation, which bounds each layer's gain (Miyato
            et al. 2018, arXiv 1802.05957).
        channels: channels of the input plus those of the image.
    """

    def __init__(
        self,
        *,
        ndf: int = 64,
        strided: int = 3,
        norm: Norm | None = "batch",
        spectral: bool = False,
        channels: int = 6,
    ) -> None:
        super().__init__()
        norm = None if spectral else norm
        widths = [ndf * min(2**level, MAX_WIDTH_RATIO) for level in range(strided + 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, ndf, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for level in range(1, strided + 1):
            # Stride 1 leaves a map one pixel smaller: 32 -> 31 -> 30 px for a 256 px image.
            stride = 2 if level < strided else 1
            before, after = widths[level - 1], widths[level]
            layers += [
                nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=norm is None),
                *norm_layers(norm, after),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*layers)
        self.apply(init_weights)
        if spectral:
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def forward(self, source: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Classify the patches of an image.

        Args:
            source: the generator's input, (N, 3, H, W) in [-1, 1].
            image: a real or a generated image, (N, 3, H, W) in [-1, 1].

        Returns:
            Logits, (N, 1, h, w), one a patch, above 0 for real; 30x30 for 256x256 px.
        """
        logits: torch.Tensor = self.layers(torch.cat([source, image], dim=1))  # from (N, 6, H, W)
        return logits

    def features(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs of the stride-2 layers, fine to coarse.

        They stop before the first layer of stride 1, which alone costs more than all before it.

        Args:
            source, image: as for :meth:`forward`.

        Returns:
            (N, ndf, H/2, W/2), (N, 2 ndf, H/4, W/4), (N, 4 ndf, H/8, W/8), with three such layers.
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
