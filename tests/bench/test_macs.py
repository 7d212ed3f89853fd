"""How much a generator multiplies."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from p2p_bench.macs import unet_macs
from p2p_train.networks.generator import UNetGenerator


def counted(generator: nn.Module, height: int, width: int) -> int:
    """Count the products layer by layer, from the shapes that pass through."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        turned = isinstance(layer, nn.ConvTranspose2d)
        positions = inputs[0] if turned else output  # where the 4x4 kernel is laid down
        total += positions.shape[2] * positions.shape[3] * layer.weight.numel()

    for layer in generator.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        generator.eval()(torch.zeros(1, 3, height, width))
    return total


@pytest.mark.parametrize(
    ("ngf", "downsamplings", "height", "width"), [(4, 5, 32, 32), (6, 6, 64, 128), (2, 8, 256, 256)]
)
def test_the_formula_counts_what_torch_does(ngf, downsamplings, height, width):
    """A 4x4 kernel is laid down once an output pixel going down, once an input pixel going up."""
    generator = UNetGenerator(ngf=ngf, downsamplings=downsamplings)
    expected = counted(generator, height, width)
    assert unet_macs(ngf=ngf, downsamplings=downsamplings, height=height, width=width) == expected
