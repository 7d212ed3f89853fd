"""Learning from a larger trained generator: what ``p2p-train --teacher`` does.

In the spirit of Ren et al. 2021, "Online Multi-Granularity Distillation for GAN Compression" (arXiv
2108.06908): the student matches its teacher's image, and the features of a trained network on it.
Unlike there, the teacher is trained already, and the features are those of its discriminator
instead of a VGG's. The losses are ``p2p_train/losses/distil.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from p2p_train.config import Precision
from p2p_train.devices import autocast
from p2p_train.networks.discriminators import PatchDiscriminator
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.projected import ProjectedDiscriminator

__all__ = ["Teacher"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A trained generator with its discriminator; both frozen, in eval mode.

    There is no discriminator where no loss compares features. A resumed run must have the same
    weights.
    """

    generator: UNetGenerator
    discriminator: PatchDiscriminator | ProjectedDiscriminator | None
    precision: Precision
    sha256: str

    @torch.no_grad()
    def translate(self, source: torch.Tensor) -> torch.Tensor:
        """Translate inputs (N, 3, H, W) in eval mode."""
        with autocast(self.precision, source.device):
            image: torch.Tensor = self.generator(source)
        return image

    def features(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the discriminator's features of an image, fine to coarse, with gradients to it."""
        assert self.discriminator is not None, "a loss compares features"
        with autocast(self.precision, source.device):
            return self.discriminator.features(source, image)
