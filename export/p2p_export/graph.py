"""What gets exported: the generator between pixels and pixels, made cheaper without changing it.

Training writes its networks for learning. A device only runs them, so everything that running
statistics make constant is multiplied into the weights beforehand.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from p2p_train.pixels import ChannelOrder, to_pixels, to_signal

__all__ = ["PixelGenerator", "Shuffle", "fold", "swap_channels", "to_cells", "with_integer_ups"]

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


class Shuffle(nn.Module):
    """Put the four pixels of each cell in place and cut the border off, see :func:`to_cells`.

    Said with the channels last: ONNX Runtime's integer kernels keep them so, and the two
    permutations cancel against its own. As a DepthToSpace, the shuffle takes a fifth of the whole
    integer generator's time.
    """

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4 * outputs, H + 1, W + 1) cells into (N, outputs, 2H, 2W)."""
        _, channels, height, width = cells.shape
        rows = cells.permute(0, 2, 3, 1).reshape(-1, height, width, 2, channels // 2)
        rows = rows.permute(0, 1, 3, 2, 4)  # (N, H + 1, 2, W + 1, 2 * outputs)
        image = rows.reshape(-1, 2 * height, 2 * width, channels // 4)
        return image[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def to_cells(up: nn.ConvTranspose2d) -> nn.Conv2d:
    """Return a ConvTranspose 4x4, stride 2, padding 1, as a 2x2 convolution over the small image.

    Each output pixel of the transposed convolution reads 2x2 input pixels, so one convolution can
    compute the four output pixels of a cell as channels, in the order row, column, output, and a
    :class:`Shuffle` puts them in place. The multiplications are the same; integer kernels exist
    for this form alone.
    """
    conv = nn.Conv2d(up.in_channels, 4 * up.out_channels, 2, padding=1, bias=up.bias is not None)
    weight = up.weight.detach()  # (inputs, outputs, 4, 4)
    inputs, outputs = weight.shape[:2]
    # Kernel row r + 2 * (1 - dy) writes row r of an output cell from the cell's input row dy.
    cells = weight.reshape(inputs, outputs, 2, 2, 2, 2).flip(2, 4)  # (i, o, dy, r, dx, c)
    cells = cells.permute(3, 5, 1, 0, 2, 4)  # (r, c, o, i, dy, dx)
    conv.weight.data = cells.reshape(4 * outputs, inputs, 2, 2).contiguous()
    if up.bias is not None and conv.bias is not None:
        conv.bias.data = up.bias.detach().repeat(4)
    return conv


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
    first, last = _first_and_last(swapped)
    first.weight.data = first.weight.data.flip(1)  # (outputs, inputs, h, w)
    outputs = 1 if isinstance(last, nn.ConvTranspose2d) else 0
    last.weight.data = last.weight.data.flip(outputs)
    assert last.bias is not None, "the last layer has no norm, hence a bias"
    last.bias.data = last.bias.data.flip(0)
    return swapped


def with_integer_ups(generator: Network) -> Network:
    """Return a copy with each ConvTranspose replaced by :func:`to_cells` and :class:`Shuffle`.

    An activation comes before the shuffle, next to its convolution, where the two become one
    integer kernel and are rounded once.
    """
    rewritten = copy.deepcopy(generator)
    for parent in list(rewritten.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential) and isinstance(child[0], nn.ConvTranspose2d):
                setattr(parent, name, nn.Sequential(*_shuffle_layers(child[0], list(child[1:]))))
    return rewritten


def _shuffle_layers(up: nn.ConvTranspose2d, others: list[nn.Module]) -> list[nn.Module]:
    pointwise = all(isinstance(layer, nn.ReLU | nn.Tanh) for layer in others)
    return [to_cells(up), *others, Shuffle()] if pointwise else [to_cells(up), Shuffle(), *others]


def _first_and_last(
    generator: nn.Module,
) -> tuple[nn.Conv2d | nn.ConvTranspose2d, nn.Conv2d | nn.ConvTranspose2d]:
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
