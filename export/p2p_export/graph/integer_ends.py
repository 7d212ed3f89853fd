"""The generator as integer kernels want it: integers from the pixels that come in to those that go.

Nothing is rounded here; what integers then round is in :mod:`.int8`.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn import functional

from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.pixels import HALF_RANGE, to_signal

from .pixel_generator import PixelGenerator, first_and_last, fold, swap_channels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "DepthToSpace",
    "Dequantise",
    "IntegerGenerator",
    "Quantise",
    "Rows",
    "SpaceToDepth",
    "balance_last",
    "for_integers",
    "to_cells",
    "with_integer_ups",
]

Network = TypeVar("Network", bound=nn.Module)

ZERO_LEVEL = 128
"""The level that integers take for a signal of zero."""

BALANCE_FRAMES = 16
"""The balance need not be exact: half of it or double costs less than 0.1 and 1.4 dB."""

CHANNELS_OF_A_ROW = 8
"""Two pixels' six channels and two that nobody reads: with 16 in all, ONNX Runtime's integer
convolution takes 0.58 of the time that it takes with 12 (AVX-512, 32 channels in, 129x129 px)."""


def for_integers(
    generator: nn.Module, frames: NDArray[np.uint8], *, whole: bool = True
) -> nn.Module:
    """Return what a trained generator computes between pixels, to be traced and quantised.

    Args:
        generator: a U-Net as it was trained; it is left as it is.
        frames: real inputs, (N, H, W, 3) uint8 BGR.
        whole: let the first layer read pixels as they are, and the last one make them.

    Returns:
        A module from (N, H, W, 3) uint8 BGR to the same.
    """
    rewritten = with_integer_ups(swap_channels(fold(generator)))
    if not whole:
        return PixelGenerator(rewritten, order="bgr")
    assert isinstance(rewritten, UNetGenerator), "no other network is exported as int8"
    return IntegerGenerator(balance_last(rewritten, frames))


class IntegerGenerator(nn.Module):
    """A U-Net between pixels that has no need of floats.

    Pixels become signals by subtracting 127.5, which is no integer. Here 128 is subtracted, and the
    first convolution's bias makes up for it, everywhere but at the border: the zeros around the
    image stand for 128 then. And the convolution reads cells of 2x2 pixels, for a kernel that reads
    single pixels spends its time on fetching three bytes at a time.

    ``127.5 tanh(x) + 127.5`` is ``255 sigmoid(2x)``. So the last convolution gets twice its weights
    and a sigmoid, whose integer form is a table of 256 pixel values; what is left after it moves
    bytes. As floats the same takes a third of the whole generator's time at width 16.

    Args:
        generator: with integer ups, (N, 3, H, W) BGR signals in and out. It is taken over.
    """

    def __init__(self, generator: UNetGenerator) -> None:
        super().__init__()
        first, last = first_and_last(generator)
        assert isinstance(first, nn.Conv2d), "its downs are convolutions"
        assert isinstance(last, nn.Conv2d), "its ups are convolutions"
        _, *others = generator.encoder[0].children()
        generator.encoder[0] = nn.Sequential(_of_cells(first), *others)
        generator.output = nn.Sequential(_of_rows(last), nn.Sigmoid(), Quantise(), Rows())
        self.cells, self.signals = SpaceToDepth(), Dequantise()
        self.generator = generator
        self.eval()

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Translate (N, H, W, 3) uint8 BGR into the same."""
        image: torch.Tensor = self.generator(self.signals(self.cells(frame)))
        return image.contiguous()


class SpaceToDepth(nn.Module):
    """Gather the pixels of each cell of 2x2, with a border of 128 around the image.

    Whole lines are moved, as by :class:`Rows`.
    """

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Turn (N, 2H, 2W, 3) uint8 into (N, 2 rows of 2 pixels of 3 colours, H + 1, W + 1)."""
        height, width = frame.shape[1] // 2 + 1, frame.shape[2] // 2 + 1
        framed = functional.pad(frame, (0, 0, 1, 1, 1, 1), value=ZERO_LEVEL)
        lines = framed.reshape(-1, width, 6).transpose(1, 2)  # (rows, column and colour, W + 1)
        return lines.reshape(-1, height, 12, width).permute(0, 2, 1, 3)


class _Scale(nn.Module):
    """A step between uint8 levels, the level of zero, and ONNX's own operators with these two."""

    def __init__(self, step: float, zero: int) -> None:
        super().__init__()
        self.step = nn.Buffer(torch.tensor(step))
        self.zero = nn.Buffer(torch.tensor(zero, dtype=torch.uint8))

    def traced(self, operator: str, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return what stands for an operator's result while a graph is traced."""
        operands = (values, self.step, self.zero)
        return torch.onnx.ops.symbolic(operator, operands, dtype=dtype, shape=values.shape)


class Dequantise(_Scale):
    """Turn uint8 levels into signals, half a level less than :func:`.to_signal`.

    Traced, it is ONNX's own DequantizeLinear: integer kernels read the levels as they are.
    """

    def __init__(self) -> None:
        super().__init__(step=1 / HALF_RANGE, zero=ZERO_LEVEL)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Scale a tensor of any shape to -128 / 127.5 and up to 127 / 127.5."""
        if torch.onnx.is_in_onnx_export():
            return self.traced("DequantizeLinear", levels, torch.float32)
        return (levels.float() - self.zero) * self.step


class Quantise(_Scale):
    """Turn shares of the full brightness (0-1) into uint8 levels; halves round to even.

    Traced, it is ONNX's own QuantizeLinear, which ONNX Runtime joins to the sigmoid before it.
    """

    def __init__(self) -> None:
        super().__init__(step=1 / 255, zero=0)

    def forward(self, shares: torch.Tensor) -> torch.Tensor:
        """Round a tensor of any shape."""
        if torch.onnx.is_in_onnx_export():
            return self.traced("QuantizeLinear", shares, torch.uint8)
        return (shares * 255).round().to(torch.uint8)


class Rows(nn.Module):
    """Put the pixels of the last layer's cells in place, as :class:`DepthToSpace` does.

    With three channels that one moves six bytes at a time. Here whole lines are moved, one of a
    channel each, and then turned into pixels, for which ONNX Runtime has vector code: a third of
    the time. In the last layer's order a cell has two rows of :data:`CHANNELS_OF_A_ROW` channels.
    """

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Turn (N, 2 * 8, H + 1, W + 1) cells into (N, 2H, 2W, 3) pixels."""
        _, channels, height, width = cells.shape
        rows = cells.reshape(-1, 2, channels // 2, height, width)
        rows = rows.permute(0, 3, 1, 2, 4)  # (N, H + 1, 2, 8, W + 1)
        lines = rows.reshape(-1, channels // 2, width)[:, :6]  # (rows, column and colour, W + 1)
        image = lines.transpose(1, 2).reshape(-1, 2 * height, 2 * width, 3)
        return image[:, 1:-1, 1:-1]


class DepthToSpace(nn.Module):
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
    :class:`DepthToSpace` puts them in place. The multiplications are the same; integer kernels
    exist for this form alone.
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


def with_integer_ups(generator: Network) -> Network:
    """Return a copy with each ConvTranspose replaced by :func:`to_cells` and :class:`DepthToSpace`.

    An activation comes before the shuffle, next to its convolution, where the two become one
    integer kernel and are rounded once.
    """
    rewritten = copy.deepcopy(generator)
    for parent in list(rewritten.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Sequential) and isinstance(child[0], nn.ConvTranspose2d):
                setattr(parent, name, nn.Sequential(*_shuffle_layers(child[0], list(child[1:]))))
    return rewritten


@torch.no_grad()
def balance_last(generator: UNetGenerator, frames: NDArray[np.uint8]) -> UNetGenerator:
    """Return a copy whose last layer joins two inputs that reach equally far.

    They are the last up's values and the first layer's, which are ten times smaller in a trained
    generator, and integers round both by the same scale. LeakyReLU and ReLU let a factor through,
    so the first layer's weights are multiplied by one, and those that read its values divided.

    Args:
        generator: with BatchNorm folded, reading BGR signals.
        frames: real inputs, (N, H, W, 3) uint8 BGR; the first of them decide.
    """
    balanced = copy.deepcopy(generator)
    up_peak = skip_peak = 0.0
    for frame in frames[:BALANCE_FRAMES]:
        features: list[torch.Tensor] = []
        balanced(to_signal(torch.from_numpy(frame[None]), "bgr"), features)
        up_peak = max(up_peak, float(features[-1].abs().max()))
        skip_peak = max(skip_peak, float(balanced.skip(features[0]).abs().max()))
    if up_peak == 0 or skip_peak == 0:
        return balanced  # one of the two says nothing
    factor = up_peak / skip_peak
    first, second, last = (block[0] for block in (*balanced.encoder[:2], balanced.output))
    for values in first.parameters():
        values.mul_(factor)
    second.weight.div_(factor)
    last.weight[:, -first.out_channels :].div_(factor)
    return balanced


def _of_cells(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the first convolution for :class:`SpaceToDepth`; its signals are half a level low."""
    cells = nn.Conv2d(4 * conv.in_channels, conv.out_channels, 2)
    weight = conv.weight.detach()  # (outputs, colours, 4, 4)
    # Kernel row 2 * dy + r reads row r of the cell in row dy.
    split = weight.reshape(*weight.shape[:2], 2, 2, 2, 2)  # (o, colour, dy, r, dx, c)
    cells.weight.data = split.permute(0, 3, 5, 1, 2, 4).reshape(cells.weight.shape).contiguous()
    half_a_level = weight.sum(dim=(1, 2, 3)) * (0.5 / HALF_RANGE)
    assert cells.bias is not None
    cells.bias.data = half_a_level if conv.bias is None else conv.bias.detach() + half_a_level
    return cells


def _of_rows(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the last convolution for a sigmoid, its cells in the order of :class:`Rows`."""
    assert conv.bias is not None, "the last layer has no norm, hence a bias"
    rows = nn.Conv2d(conv.in_channels, 2 * CHANNELS_OF_A_ROW, 2, padding=1)
    for mine, its in ((rows.weight, conv.weight), (rows.bias, conv.bias)):
        assert mine is not None
        cells = 2 * its.detach().reshape(2, -1, *its.shape[1:])  # (row, column and colour, ...)
        spare = cells.new_zeros(2, CHANNELS_OF_A_ROW - cells.shape[1], *cells.shape[2:])
        mine.data = torch.cat([cells, spare], dim=1).flatten(0, 1)
    return rows


def _shuffle_layers(up: nn.ConvTranspose2d, others: list[nn.Module]) -> list[nn.Module]:
    pointwise = all(isinstance(layer, nn.ReLU | nn.Tanh) for layer in others)
    return (
        [to_cells(up), *others, DepthToSpace()]
        if pointwise
        else [to_cells(up), DepthToSpace(), *others]
    )
