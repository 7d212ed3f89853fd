"""BatchNorm's running statistics: keep them as they are, or estimate them anew."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

__all__ = ["batch_norms", "frozen_batchnorm", "update_bn"]

AnyBatchNorm = nn.BatchNorm2d | nn.SyncBatchNorm


def batch_norms(network: nn.Module) -> list[AnyBatchNorm]:
    """Return the BatchNorm layers of a network."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    return [module for module in network.modules() if isinstance(module, kinds)]


@contextlib.contextmanager
def frozen_batchnorm(network: nn.Module) -> Iterator[None]:
    """Keep running statistics unchanged, so that each batch counts once, however often it runs."""
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


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
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches that follow
        norm.train()
    try:
        for signal in signals:
            network(signal)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
