"""The generator between uint8 frames, and rewrites of its layers that do not change its function.

In ``eval`` mode BatchNorm is a constant scale and offset, which the convolution before it takes up.
ONNX Runtime's CPU provider has no integer ConvTranspose and computes a quantised one in float
between two conversions. For int8, convolutions replace transposed ones.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from p2p_train.networks.pixels import ChannelOrder, to_pixels, to_signal

__all__ = [
    "DepthToSpace", "PixelGenerator", "first_and_last_conv", "fold", "folded_generator",
    "replace_transposed_convs", "swap_channels", "transposed_to_conv",
]  # fmt: skip

Network = TypeVar("Network", bound=nn.Module)
Layers = list[nn.Module]


class PixelGenerator(nn.Module):
    """A generator as the device uses it: uint8 frames in, uint8 frames out.

    Normalisation to [-1, 1] and back is part of the module, hence of the exported graph. The
    generator, (N, 3, H, W) signals in [-1, 1] of a channel order to the same, is switched to
    ``eval``: running statistics, no dropout.
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
    stays.
    """
    return _rewritten(generator, _fold_layers).eval()


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
    kinds = nn.Conv2d | nn.ConvTranspose2d
    layers = [layer for layer in generator.modules() if isinstance(layer, kinds)]
    return layers[0], layers[-1]


def replace_transposed_convs(generator: Network) -> Network:
    """Return a copy in which convolution and :class:`DepthToSpace` replace each ConvTranspose."""
    return _rewritten(generator, _replacement)


def transposed_to_conv(transposed: nn.ConvTranspose2d) -> nn.Conv2d:
    """Return a ConvTranspose 4x4, stride 2, padding 1, as a 2x2 convolution with padding 1.

    Each output pixel depends on 2x2 input pixels. The convolution computes the output pixels of a
    2x2 block as channels, ordered (row, column, output channel); :class:`DepthToSpace` puts them in
    place. The number of multiplications stays, the result is equal up to float32 rounding.

    With output row r (0 or 1) of a block and input row dy (0 or 1) of the 2x2 window, and the same
    for columns c and dx::

        conv[(2r + c) * outputs + o, i, dy, dx] = transposed[i, o, r + 2 (1 - dy), c + 2 (1 - dx)]
    """
    weight = transposed.weight.detach()  # (inputs, outputs, 4, 4)
    inputs, outputs = weight.shape[:2]
    conv = nn.Conv2d(inputs, 4 * outputs, 2, padding=1, bias=transposed.bias is not None)
    blocks = weight.reshape(inputs, outputs, 2, 2, 2, 2).flip(2, 4)  # (i, o, dy, r, dx, c)
    blocks = blocks.permute(3, 5, 1, 0, 2, 4)  # (r, c, o, i, dy, dx)
    conv.weight.data = blocks.reshape(4 * outputs, inputs, 2, 2).contiguous()
    if transposed.bias is not None and conv.bias is not None:
        conv.bias.data = transposed.bias.detach().repeat(4)
    return conv


class DepthToSpace(nn.Module):
    """Spread four groups of channels over 2x2 pixels and crop a 1 px border.

    It follows the convolution of :func:`transposed_to_conv`. Channels stay last, as in ONNX
    Runtime's integer kernels, so the two permutations cancel against the runtime's own. ONNX's
    DepthToSpace operator takes a fifth of the int8 generator's time.
    """

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4 * C, H + 1, W + 1), channels ordered (row, column, C), into (N, C, 2H, 2W)."""
        _, channels, height, width = blocks.shape
        rows = blocks.permute(0, 2, 3, 1).reshape(-1, height, width, 2, channels // 2)
        rows = rows.permute(0, 1, 3, 2, 4)  # (N, H + 1, row, W + 1, column and C)
        image = rows.reshape(-1, 2 * height, 2 * width, channels // 4)  # (N, 2H + 2, 2W + 2, C)
        return image[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def _rewritten(generator: Network, rewrite: Callable[[Layers], Layers]) -> Network:
    """Return a copy whose blocks, all ``nn.Sequential``, have the layers that ``rewrite`` gives."""
    copied = copy.deepcopy(generator)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential):
                setattr(parent, name, nn.Sequential(*rewrite(list(child))))
    return copied


def _fold_layers(layers: Layers) -> Layers:
    folded: Layers = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            _fold_norm(folded[-1], layer)
        elif not isinstance(layer, nn.Dropout):
            folded.append(layer)
    return folded


def _fold_norm(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
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


def _replacement(layers: Layers) -> Layers:
    """Replace a block's ConvTranspose, elementwise activations before the shuffle.

    Next to its convolution, an activation becomes part of the same integer kernel, and the result
    is rounded once. InstanceNorm needs the pixels in place, so the shuffle then comes first.
    """
    first, *others = layers
    if not isinstance(first, nn.ConvTranspose2d):
        return layers
    conv = transposed_to_conv(first)
    if all(isinstance(layer, nn.ReLU | nn.Tanh) for layer in others):
        return [conv, *others, DepthToSpace()]
    return [conv, DepthToSpace(), *others]
