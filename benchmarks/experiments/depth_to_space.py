"""The integer generator as ONNX has an operator for it, to be timed beside ours."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from p2p_export.graph.integer_ends import DepthToSpace

__all__ = ["with_depth_to_space"]


class _DepthToSpace(nn.Module):
    """What :class:`.DepthToSpace` computes, exported as ONNX's DepthToSpace."""

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Turn (N, outputs * 4, H + 1, W + 1) cells into (N, outputs, 2H, 2W)."""
        return functional.pixel_shuffle(cells, 2)[:, :, 1:-1, 1:-1]


def with_depth_to_space(generator: nn.Module) -> nn.Module:
    """Return a copy of a generator with integer ups, its shuffles said in the operator's order.

    Args:
        generator: one with :class:`.DepthToSpace` after its ups, wrapped or not.
    """
    rewritten = copy.deepcopy(generator)
    for parent in rewritten.modules():
        if isinstance(parent, nn.Sequential) and any(
            isinstance(one, DepthToSpace) for one in parent
        ):
            _reorder(parent[0])
            for index, layer in enumerate(parent):
                if isinstance(layer, DepthToSpace):
                    parent[index] = _DepthToSpace()
    return rewritten


def _reorder(conv: nn.Module) -> None:
    """Bring output channels from (row, column, output) to (output, row, column)."""
    assert isinstance(conv, nn.Conv2d)
    order = torch.arange(conv.out_channels).reshape(4, -1).T.flatten()
    conv.weight.data = conv.weight.data[order]
    if conv.bias is not None:
        conv.bias.data = conv.bias.data[order]
