"""Normalisation layers, BatchNorm's running statistics, and initial weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from .geometry import Norm

__all__ = ["batch_norms", "frozen_batchnorm", "init_weights", "norm_layers"]


def norm_layers(norm: Norm | None, channels: int) -> list[nn.Module]:
    """Return the normalisation layer of a block; none for ``norm`` None."""
    if norm is None:
        return []
    batch = norm == "batch"
    return [nn.BatchNorm2d(channels) if batch else nn.InstanceNorm2d(channels, affine=True)]


def init_weights(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and norm gains from N(1, 0.02), for ``Module.apply``.

    Source: Isola et al. 2017, section 6.2.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the BatchNorm layers of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@contextlib.contextmanager
def frozen_batchnorm(network: nn.Module) -> Iterator[None]:
    """Keep running statistics unchanged, so that each batch counts once, however often it runs."""
    norms = batch_norms(network)
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, own in zip(norms, before, strict=True):
            norm.momentum = own
