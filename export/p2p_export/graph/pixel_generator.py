"""What gets exported: the generator between pixels and pixels, made cheaper without changing it.

Training writes its networks for learning. A device only runs them, so everything that running
statistics make constant is multiplied into the weights beforehand.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from p2p_train.networks.pixels import ChannelOrder, to_pixels, to_signal

__all__ = ["PixelGenerator", "first_and_last", "fold", "swap_channels"]

Network = TypeVar("Network", bound=nn.Module)


class PixelGenerator(nn.Module):
    """A generator as the device sees it: pixels in, pixels out.

    Args:
        generator: (N, 3, H, W) signal to (N, 3, H, W) signal. It is switched to ``eval``: running
            statistics, no dropout.
        order: the channel order of the generator's signals.
    """

    def __init__(self, generator: nn.Module, *, order: ChannelOrder = "rgb") -> None:
        super().__init__()
        self.generator = generator
        self.order = order
        self.eval()

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Translate (N, H, W, 3) uint8 BGR into the same."""
        signal = to_signal(frame, self.order)  # (N, 3, H, W)
        return to_pixels(self.generator(signal), self.order)


def fold(generator: Network) -> Network:
    """Return a copy in ``eval`` mode with BatchNorm inside the convolutions and no dropout.

    The arithmetic is done in float64 and rounded once. InstanceNorm depends on the picture and
    stays. The argument is left as it is.
    """
    folded = copy.deepcopy(generator).eval()
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential):
                setattr(parent, name, nn.Sequential(*_fold_layers(list(child))))
    return folded


def swap_channels(generator: Network) -> Network:
    """Return a copy that reads and writes BGR signals where the original reads and writes RGB."""
    swapped = copy.deepcopy(generator)
    first, last = first_and_last(swapped)
    first.weight.data = first.weight.data.flip(1)  # (outputs, inputs, h, w)
    outputs = 1 if isinstance(last, nn.ConvTranspose2d) else 0
    last.weight.data = last.weight.data.flip(outputs)
    assert last.bias is not None, "the last layer has no norm, hence a bias"
    last.bias.data = last.bias.data.flip(0)
    return swapped


def first_and_last(
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
    """Multiply ``norm``'s gain into ``conv``'s weights and move its offset into the bias."""
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = 0.0 if conv.bias is None else conv.bias.double()
    outputs = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    offset = (bias - norm.running_mean.double()) * gain + norm.bias.double()
    conv.weight.data = (conv.weight.double() * gain.reshape(outputs)).float().detach()
    conv.bias = nn.Parameter(offset.float().detach())
    return conv
