"""Learning from a larger trained generator: what ``p2p-train --teacher`` does.

In the spirit of Ren et al. 2021, "Online Multi-Granularity Distillation for GAN Compression" (arXiv
2108.06908): the student matches its teacher's image, the features of a trained network on it, and
the means of the teacher's own channels. Unlike there, the teacher is trained already, and the
features are those of a network at hand (its discriminator, or a segmenter) instead of a VGG's. The
losses are ``p2p_train/losses/distil_*.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from p2p_train.config import Precision
from p2p_train.devices import autocast
from p2p_train.networks.generator import GeneratorOutput, UNetGenerator

__all__ = ["FeatureNetwork", "Teacher"]

FeatureNetwork = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]
"""From inputs and images, (N, 3, H, W) in [-1, 1], to features, fine to coarse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A trained, frozen generator, and the feature network that compares images.

    Attributes:
        generator: in eval mode, without gradients.
        feature_network: computes features of images.
        precision: arithmetic of both.
        sha256: of all weights; a resumed run must have the same ones.
    """

    generator: UNetGenerator
    feature_network: FeatureNetwork
    precision: Precision
    sha256: str

    @torch.no_grad()
    def translate(self, source: torch.Tensor) -> GeneratorOutput:
        """Translate inputs (N, 3, H, W) in eval mode."""
        features: list[torch.Tensor] = []
        with autocast(self.precision, source.device):
            image: torch.Tensor = self.generator(source, features)
        return GeneratorOutput(image=image, features=features)

    def features(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of an image; gradients flow through to the image."""
        with autocast(self.precision, source.device):
            return self.feature_network(source, image)
