"""Layers and initial weights that the generator and the discriminator share."""

from __future__ import annotations

from torch import nn

from .geometry import Norm

__all__ = ["init_weights", "norm_layers"]


def norm_layers(norm: Norm | None, channels: int) -> list[nn.Module]:
    """Return the normalisation layer of a block; none for ``norm`` None."""
    if norm is None:
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels, affine=True)]


def init_weights(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and norm gains from N(1, 0.02).

    Source: Isola et al. 2017, section 6.2. For :meth:`torch.nn.Module.apply`.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
