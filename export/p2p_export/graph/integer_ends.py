"""The generator in a form that int8 kernels run from the uint8 input to the uint8 output.

This module works in float and rounds nothing; :mod:`.int8` quantises its result. Converting pixels
to float and back at both ends would take a third of the generator's time at width 16.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.pixels import HALF_RANGE, to_signal

from .pixel_generator import (
    PixelGenerator,
    first_and_last_conv,
    fold,
    replace_transposed_convs,
    swap_channels,
)  # fmt: skip

__all__ = [
    "Dequantise", "IntegerGenerator", "Quantise", "Rows", "SpaceToDepth", "SplitSigmoid",
    "equalise", "integer_form",
]  # fmt: skip

ZERO_LEVEL = 128
"""Pixel level that stands for a signal of zero, and for a sigmoid of zero, in the integer graph."""

TABLE_WHITE = 255.003
"""White in the tables of :class:`SplitSigmoid`: a hair more than 255, so that the middle, else
127.5, is rounded to :data:`ZERO_LEVEL` by every kernel."""

EQUALISE_FRAMES = 16
"""Maximum number of frames that decide the equalisation factors."""

EQUALISE_SHARE = 0.65
"""Share of a channel's range that moves into the weights, 0 to 1. The demo model's brightness is
1.33 levels from float at .65, and 1.43 at .5."""

LEAST = 1e-3
"""Least peak of a channel and least weight that reads it, as shares of the largest ones."""

ROW_CHANNELS = 8
"""Channels of one row of a 2x2 block in the output layer: two pixels of three colours, and two that
are dropped. ONNX Runtime's integer convolution takes 0.58 of the time with 16 channels that it
takes with 12 (AVX-512, 32 input channels, 129x129 px)."""


def integer_form(
    generator: nn.Module, frames: NDArray[np.uint8], *, uint8_ends: bool = True
) -> nn.Module:
    """Return a copy of a trained U-Net between pixels, ready to be traced and quantised.

    ``frames`` are real inputs, (N, H, W, 3) uint8 BGR. With ``uint8_ends``, the first convolution
    takes pixel levels and the last one returns them, else :class:`.PixelGenerator` converts them.
    """
    folded = swap_channels(fold(generator))
    assert isinstance(folded, UNetGenerator), "no other network is exported as int8"
    rewritten = replace_transposed_convs(equalise(folded, frames))
    return IntegerGenerator(rewritten) if uint8_ends else PixelGenerator(rewritten, order="bgr")


class IntegerGenerator(nn.Module):
    """A U-Net between pixels in which every operation has an integer kernel.

    Input: ``(level - 127.5) / 127.5`` has no integer zero point. The graph subtracts 128, and the
    bias of the first convolution compensates for the half level; only the padding stands for level
    128, not 127.5. The convolution reads 2x2 pixel blocks with 12 channels, because a kernel over 3
    channels spends its time on fetching three bytes at a time.

    Output: ``127.5 tanh(x) + 127.5`` equals ``255 sigmoid(2x)``. The output layer's weights are
    doubled and followed by a sigmoid, see :class:`SplitSigmoid`.

    The generator, (N, 3, H, W) BGR signals in and out, has its transposed convolutions replaced. It
    becomes part of this module and is changed.
    """

    def __init__(self, generator: UNetGenerator) -> None:
        super().__init__()
        first, last = first_and_last_conv(generator)
        assert isinstance(first, nn.Conv2d), "encoder blocks begin with a convolution"
        assert isinstance(last, nn.Conv2d), "transposed convolutions are replaced"
        _, *others = generator.encoder[0].children()
        generator.encoder[0] = nn.Sequential(_conv_over_blocks(first), *others)
        halves = (_conv_into_rows(last, unused) for unused in (0.0, 1.0))
        generator.output = nn.Sequential(SplitSigmoid(*halves), Rows())
        self.space_to_depth, self.dequantise = SpaceToDepth(), Dequantise()
        self.generator = generator
        self.eval()

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Translate (N, H, W, 3) uint8 BGR into the same."""
        signal = self.dequantise(self.space_to_depth(frame))  # (N, 12, H / 2 + 1, W / 2 + 1)
        image: torch.Tensor = self.generator(signal)
        return image.contiguous()


class SpaceToDepth(nn.Module):
    """Gather each 2x2 pixel block into channels, after padding the frame by 1 px of level 128.

    The first convolution (4x4, stride 2, padding 1) becomes 2x2 without padding over the blocks.
    """

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        """Turn (N, 2H, 2W, 3) uint8 into (N, 12, H + 1, W + 1), ordered (row, column, colour)."""
        height, width = frame.shape[1] // 2 + 1, frame.shape[2] // 2 + 1
        padded = functional.pad(frame, (0, 0, 1, 1, 1, 1), value=ZERO_LEVEL)
        # Whole image rows are transposed, for which ONNX Runtime has vector code.
        lines = padded.reshape(-1, width, 6).transpose(1, 2)  # (image rows, column and colour, W+1)
        return lines.reshape(-1, height, 12, width).permute(0, 2, 1, 3)


class _Scale(nn.Module):
    """Scale and zero point of uint8 levels, and ONNX's operators that take them.

    While a graph is traced, ``torch.onnx.ops.symbolic`` inserts ONNX's own QuantizeLinear or
    DequantizeLinear, which ONNX Runtime fuses with the integer kernels beside them.
    """

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__()
        self.scale = nn.Buffer(torch.tensor(scale))
        self.zero_point = nn.Buffer(torch.tensor(zero_point, dtype=torch.uint8))

    def _traced(self, operator: str, values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        operands = (values, self.scale, self.zero_point)
        return torch.onnx.ops.symbolic(operator, operands, dtype=dtype, shape=values.shape)


class Dequantise(_Scale):
    """Turn uint8 levels into signals, half a level lower than :func:`.to_signal` does."""

    def __init__(self, scale: float = 1 / HALF_RANGE, zero_point: int = ZERO_LEVEL) -> None:
        super().__init__(scale=scale, zero_point=zero_point)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Scale a tensor of any shape; without arguments, to [-128 / 127.5, 127 / 127.5]."""
        if torch.onnx.is_in_onnx_export():
            return self._traced("DequantizeLinear", levels, torch.float32)
        return (levels.float() - self.zero_point) * self.scale


class Quantise(_Scale):
    """Turn brightness in [0, 1] into uint8 levels, ``white`` of them; halves round to even."""

    def __init__(self, white: float = 255.0) -> None:
        super().__init__(scale=1 / white, zero_point=0)
        self.white = white

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Round a tensor of any shape."""
        if torch.onnx.is_in_onnx_export():
            return self._traced("QuantizeLinear", brightness, torch.uint8)
        return (brightness * self.white).round().to(torch.uint8)


class SplitSigmoid(nn.Module):
    """The output layer and its sigmoid, once for dark and once for bright values.

    An integer sigmoid is a lookup table of 256 entries. One for all values would make steps of
    three levels in mid-grey, which networks that look at pictures notice more than any other
    rounding of int8. The two tables have half the range each, so half the step. Where one is in
    use, the other one gives the middle level, which is subtracted.
    """

    def __init__(self, dark: nn.Conv2d, bright: nn.Conv2d) -> None:
        super().__init__()
        self.dark, self.bright = dark, bright
        self.table, self.levels = Quantise(TABLE_WHITE), Quantise()
        self.from_dark = Dequantise(scale=1 / TABLE_WHITE, zero_point=0)
        self.from_bright = Dequantise(scale=1 / TABLE_WHITE, zero_point=ZERO_LEVEL)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Turn (N, C, h, w) into (N, C', h + 1, w + 1) uint8 levels."""
        dark = self.table(torch.sigmoid(self.dark(features).clamp(max=0.0)))
        bright = self.table(torch.sigmoid(functional.relu(self.bright(features))))
        levels: torch.Tensor = self.levels(self.from_dark(dark) + self.from_bright(bright))
        return levels


class Rows(nn.Module):
    """Put the output layer's 2x2 pixel blocks in place and crop the 1 px border.

    The result equals :class:`.DepthToSpace`, which would move six bytes at a time. Moving whole
    rows of one channel and transposing them, with vector code, takes a third of the time.
    """

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Turn (N, 2 * ROW_CHANNELS, H + 1, W + 1) into (N, 2H, 2W, 3)."""
        _, channels, height, width = blocks.shape
        rows = blocks.reshape(-1, 2, channels // 2, height, width)
        rows = rows.permute(0, 3, 1, 2, 4)  # (N, H + 1, row, ROW_CHANNELS, W + 1)
        # Image rows of 6 channels (column and colour); the spare two are dropped.
        lines = rows.reshape(-1, channels // 2, width)[:, :6]  # (N (2H + 2), 6, W + 1)
        image = lines.transpose(1, 2).reshape(-1, 2 * height, 2 * width, 3)
        return image[:, 1:-1, 1:-1]


@torch.no_grad()
def equalise(generator: UNetGenerator, frames: NDArray[np.uint8]) -> UNetGenerator:
    """Return a copy that computes the same, with channels whose ranges are more alike.

    Integers represent all channels of a tensor with one scale, and weights with one scale for each
    output. ReLU and LeakyReLU commute with a positive factor, so each channel is divided by one,
    and the weights that read it are multiplied. The factor is that of Xiao et al. 2023
    ("SmoothQuant", arXiv 2211.10438, equation 4): ``peak^a / weight^(1 - a)``. BatchNorm is folded;
    frames are real inputs, (N, H, W, 3) uint8 BGR.
    """
    equalised = copy.deepcopy(generator)
    encoder, decoder = list(equalised.encoder), [*equalised.decoder, equalised.output]
    for level, peak in enumerate(_peaks(equalised, frames)):  # (C,)
        if level < len(encoder):  # the skip's channels come last
            block, readers = encoder[level], [(decoder[-1 - level], slice(-len(peak), None))]
            readers += [(one, slice(None)) for one in encoder[level + 1 : level + 2]]
        else:
            place = level - len(encoder)
            block, readers = decoder[place], [(decoder[place + 1], slice(len(peak)))]
        reach = torch.cat([_reach(reader)[part] for reader, part in readers], dim=1).amax(dim=1)
        if not peak.any() or not reach.any():
            continue  # nothing passes here, so there is nothing to divide by
        peak, reach = (one.clamp_min(LEAST * one.max()) for one in (peak, reach))
        factor = peak**EQUALISE_SHARE / reach ** (1 - EQUALISE_SHARE)
        for values in _by_output(block):
            values.div_(factor)
        for reader, part in readers:
            _by_input(reader)[part].mul_(factor.reshape(-1, 1, 1, 1))
    return equalised


def _peaks(generator: UNetGenerator, frames: NDArray[np.uint8]) -> list[torch.Tensor]:
    # Each channel's largest magnitude, (C,) for each block: the encoder's, then the decoder's
    features: list[torch.Tensor] = []
    generator(to_signal(torch.from_numpy(frames[:EQUALISE_FRAMES]), "bgr"), features)
    return [one.abs().amax(dim=(0, 2, 3)) for one in features]


def _by_input(block: nn.Module) -> torch.Tensor:
    # A view of a block's weights, (inputs, outputs, kh, kw)
    conv = block.get_submodule("0")
    weight = conv.get_parameter("weight")
    return weight if isinstance(conv, nn.ConvTranspose2d) else weight.transpose(0, 1)


def _reach(block: nn.Module) -> torch.Tensor:
    # Each input's largest weight as a share of the output's largest, (inputs, outputs)
    largest = _by_input(block).abs().amax(dim=(2, 3))
    return largest / largest.amax(dim=0).clamp_min(torch.finfo(largest.dtype).tiny)


def _by_output(block: nn.Module) -> list[torch.Tensor]:
    # Views of what scales a block's outputs, (..., outputs) each: an InstanceNorm undoes what is
    # before it
    norms = [layer for layer in block.children() if isinstance(layer, nn.InstanceNorm2d)]
    scaling = norms[0] if norms else block.get_submodule("0")
    axis = 1 if isinstance(scaling, nn.ConvTranspose2d) else 0
    return [one.movedim(axis if one.dim() > 1 else 0, -1) for one in scaling.parameters()]


def _conv_over_blocks(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the first convolution (4x4, stride 2) for blocks of :class:`SpaceToDepth`.

    Its bias compensates for :class:`Dequantise`, whose signals are half a level low.
    """
    blocks = nn.Conv2d(4 * conv.in_channels, conv.out_channels, 2)
    weight = conv.weight.detach()  # (outputs, colours, 4, 4)
    # Kernel row 2 * dy + r reads row r of the block in row dy.
    split = weight.reshape(*weight.shape[:2], 2, 2, 2, 2)  # (o, colour, dy, r, dx, c)
    split = split.permute(0, 3, 5, 1, 2, 4)  # (o, r, c, colour, dy, dx)
    blocks.weight.data = split.reshape(blocks.weight.shape).contiguous()
    half_a_level = weight.sum(dim=(1, 2, 3)) * (0.5 / HALF_RANGE)  # (outputs,)
    assert blocks.bias is not None
    blocks.bias.data = half_a_level if conv.bias is None else conv.bias.detach() + half_a_level
    return blocks


def _conv_into_rows(conv: nn.Conv2d, unused: float) -> nn.Conv2d:
    """Return the output convolution for a sigmoid, its channels in the order of :class:`Rows`.

    ``unused`` is the spare channels' bias: the exporter would merge two equal convolutions.
    """
    assert conv.bias is not None, "the output layer has no norm, hence a bias"
    rows = nn.Conv2d(conv.in_channels, 2 * ROW_CHANNELS, 2, padding=1)
    for target, source in ((rows.weight, conv.weight), (rows.bias, conv.bias)):
        assert target is not None
        # (4 * 3, ...) -> (row, column and colour, ...); twice, because sigmoid(2x) replaces tanh.
        blocks = 2 * source.detach().reshape(2, -1, *source.shape[1:])
        spare = blocks.new_zeros(2, ROW_CHANNELS - blocks.shape[1], *blocks.shape[2:])
        spare += unused if source.dim() == 1 else 0.0
        target.data = torch.cat([blocks, spare], dim=1).flatten(0, 1)
    return rows
