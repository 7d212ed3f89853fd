"""The generator between uint8 frames, with everything constant folded into its weights.

Training needs separate normalisation layers; a device does not. In ``eval`` mode BatchNorm is a
constant scale and offset, so it is multiplied into the convolution before it.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from p2p_train.networks.pixels import ChannelOrder, to_pixels, to_signal

__all__ = ["PixelGenerator", "first_and_last_conv", "fold", "folded_generator", "swap_channels"]

Network = TypeVar("Network", bound=nn.Module)


class PixelGenerator(nn.Module):
    """A generator as the device uses it: uint8 frames in, uint8 frames out.

    Normalisation to [-1, 1] and back is part of the module, hence of the exported graph.

    Args:
        generator: (N, 3, H, W) signal in [-1, 1] to the same. It is switched to ``eval``: running
            statistics, no dropout.
        order: channel order of the generator's signals.
    """

    def __init__(self, generator: nn.Module, *, order: ChannelOrder = "rgb") -> None:
        super().__init__()
        self.generator = generator
        self.order = order
        self.eval()

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Translate (N, H, W, 3) uint8 BGR into the same."""
        signal = to_signal(frame, self.order)  # (N, 3, H, W) in [-1, 1]
        return to_pixels(self.generator(signal), self.order)


def folded_generator(generator: nn.Module) -> PixelGenerator:
    """Return the exported float form: BatchNorm folded, colours swapped in the weights."""
    return PixelGenerator(swap_channels(fold(generator)), order="bgr")


def fold(generator: Network) -> Network:
    """Return a copy in ``eval`` mode with BatchNorm folded into the convolutions, no dropout.

    The products are computed in float64 and rounded once. InstanceNorm depends on the image and
    stays. The argument is not changed.
    """
    folded = copy.deepcopy(generator).eval()
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential):
                setattr(parent, name, nn.Sequential(*_fold_layers(list(child))))
    return folded


def swap_channels(generator: Network) -> Network:
    """Return a copy that takes and returns BGR signals where the original uses RGB."""
    swapped = copy.deepcopy(generator)
    first, last = first_and_last_conv(swapped)
    first.weight.data = first.weight.data.flip(1)  # (outputs, inputs, kh, kw): flip the inputs
    output_axis = 1 if isinstance(last, nn.ConvTranspose2d) else 0  # it stores (inputs, outputs)
    last.weight.data = last.weight.data.flip(output_axis)
    assert last.bias is not None, "the output layer has no norm, hence a bias"
    last.bias.data = last.bias.data.flip(0)
    return swapped


def first_and_last_conv(
    generator: nn.Module,
) -> tuple[nn.Conv2d | nn.ConvTranspose2d, nn.Conv2d | nn.ConvTranspose2d]:
    """Return a generator's first and its last convolution."""
    layers = [
        layer for layer in generator.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    return layers[0], layers[-1]


def _fold_layers(layers: list[nn.Module]) -> list[nn.Module]:
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.Dropout):
            continue
        if isinstance(layer, nn.BatchNorm2d):
            folded[-1] = _fold_norm(folded[-1], layer)
        else:
            folded.append(layer)
    return folded


def _fold_norm(conv: nn.Module, norm: nn.BatchNorm2d) -> nn.Module:
    """Multiply ``norm``'s gain into ``conv``'s weights and add its offset to the bias.

    gain = weight / sqrt(var + eps); new bias = (bias - mean) * gain + norm bias.
    """
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()  # (outputs,)
    bias = 0.0 if conv.bias is None else conv.bias.double()
    # Conv2d stores (outputs, inputs, kh, kw), ConvTranspose2d (inputs, outputs, kh, kw).
    per_output = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    offset = (bias - norm.running_mean.double()) * gain + norm.bias.double()
    conv.weight.data = (conv.weight.double() * gain.reshape(per_output)).float().detach()
    conv.bias = nn.Parameter(offset.float().detach())
    return conv
