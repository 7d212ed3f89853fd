"""BatchNorm's running statistics: which modules have them, and how to leave them alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

__all__ = ["batch_norms", "statistics_kept"]

AnyBatchNorm = nn.BatchNorm2d | nn.SyncBatchNorm


def batch_norms(network: nn.Module) -> list[AnyBatchNorm]:
    """Return the BatchNorm layers of a network."""
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    return [module for module in network.modules() if isinstance(module, kinds)]


@contextlib.contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Leave running statistics alone: each batch counts once, however often it is drawn."""
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
