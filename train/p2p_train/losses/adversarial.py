"""What generator and discriminator are asked to minimise.

Isola et al. 2017 (arXiv 1611.07004), equations 1 to 4, with the non-saturating generator loss and
the discriminator's loss halved, as in section 3.3; least squares and hinge as alternatives.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from p2p_train.config import GanLoss

__all__ = ["adversarial_loss", "discriminator_loss", "l1_loss", "shift_consistency", "shifted"]


def discriminator_loss(kind: GanLoss, logits: torch.Tensor, *, real: bool) -> torch.Tensor:
    """Return the discriminator's loss on patches that are real, or on generated ones.

    Args:
        kind: ``bce``; ``lsgan``, equation 2 of arXiv 1611.04076 with labels 0 and 1; ``hinge``,
            equation 3 of arXiv 1705.02894.
        logits: (N, 1, h, w), above 0 for real (``lsgan``: 1 for real, 0 for generated).
        real: what the patches are.
    """
    logits = logits.float()
    if kind == "hinge":
        return functional.relu(1 - logits if real else 1 + logits).mean()
    return _distance(kind, logits, 1.0 if real else 0.0)


def adversarial_loss(kind: GanLoss, fake_logits: torch.Tensor) -> torch.Tensor:
    """Return how far the generator is from being taken for real, given (N, 1, h, w) logits."""
    fake_logits = fake_logits.float()
    return -fake_logits.mean() if kind == "hinge" else _distance(kind, fake_logits, 1.0)


def l1_loss(generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of two signals in [-1, 1]."""
    return functional.l1_loss(generated.float(), target)


def shifted(source: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return (N, C, H, W) moved down by ``rows`` and right by ``columns``; edges are repeated."""
    height, width = source.shape[2:]
    down = (torch.arange(height, device=source.device) - rows).clamp(0, height - 1)
    right = (torch.arange(width, device=source.device) - columns).clamp(0, width - 1)
    return source[:, :, down][..., right]


def shift_consistency(
    generated: torch.Tensor, generated_from_shifted: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    """Return how much a picture changes, beyond moving, when its input moves by a few pixels.

    A label map that moves is what a driving camera sees; a texture that stays in place, or boils,
    shows here. No gradient flows into ``generated``.

    Args:
        generated: G(x), (N, 3, H, W).
        generated_from_shifted: G(x moved by :func:`shifted`).
        rows, columns: the shift in pixels; the band that entered the picture is left out.
    """
    moved = shifted(generated.detach().float(), rows, columns)
    height, width = moved.shape[2:]
    inner = (
        ...,
        slice(max(rows, 0), height + min(rows, 0)),
        slice(max(columns, 0), width + min(columns, 0)),
    )
    return functional.l1_loss(generated_from_shifted.float()[inner], moved[inner])


def _distance(kind: GanLoss, logits: torch.Tensor, label: float) -> torch.Tensor:
    labels = torch.full_like(logits, label)
    if kind == "lsgan":
        return functional.mse_loss(logits, labels)
    return functional.binary_cross_entropy_with_logits(logits, labels)
