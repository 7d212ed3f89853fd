"""What generator and discriminator are asked to minimise.

Isola et al. 2017 (arXiv 1611.07004), equations 1 to 4, with the non-saturating generator loss and
the discriminator's loss halved, as in section 3.3.
"""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["adversarial_loss", "discriminator_losses", "l1_loss"]


def adversarial_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """Return how far the generator is from being taken for real, given (N, 1, h, w) logits."""
    return functional.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))


def discriminator_losses(
    real_logits: torch.Tensor, fake_logits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the discriminator's losses on real and on fake patches; each weighs half."""
    real = functional.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
    fake = functional.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return real, fake


def l1_loss(generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of two signals in [-1, 1]."""
    return functional.l1_loss(generated, target)
