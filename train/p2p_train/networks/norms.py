"""Normalisation layers, BatchNorm's running statistics, and initial weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from .geometry import Norm

__all__ = ["batch_norms", "frozen_batchnorm", "init_weights", "norm_layers", "update_bn"]

AnyBatchNorm = nn.BatchNorm2d | nn.SyncBatchNorm


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


def batch_norms(network: nn.Module) -> list[AnyBatchNorm]:
    """Return the BatchNorm layers of a network."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    return [module for module in network.modules() if isinstance(module, kinds)]


@contextlib.contextmanager
def _momentum(norms: list[AnyBatchNorm], momentum: float | None) -> Iterator[None]:
    """Give all layers this momentum, and afterwards their own again."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, own in zip(norms, before, strict=True):
            norm.momentum = own


def frozen_batchnorm(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Keep running statistics unchanged, so that each batch counts once, however often it runs."""
    return _momentum(batch_norms(network), 0.0)


@torch.no_grad()
def update_bn(network: nn.Module, signals: Iterable[torch.Tensor]) -> None:
    """Replace running statistics by their means over some batches, with the weights as they are.

    Statistics gathered in training mix the weights of many steps; these belong to one set of
    weights (Wu and Johnson 2021, arXiv 2105.07576, "precise BatchNorm").

    Args:
        network: in eval mode, so without dropout; it stays so.
        signals: inputs, (N, C, H, W) batches of one size, on the network's device.
    """
    norms = batch_norms(network)
    with _momentum(norms, None):  # None: a plain mean over all batches that follow
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        try:
            for signal in signals:
                network(signal)
        finally:
            for norm in norms:
                norm.eval()
