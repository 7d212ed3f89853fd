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
    "Dequantise", "IntegerGenerator", "Quantise", "Rows", "SpaceToDepth", "equalise_output_inputs",
    "integer_form",
]  # fmt: skip

ZERO_LEVEL = 128
"""Pixel level that stands for a signal of zero in the integer graph."""

EQUALISE_FRAMES = 16
"""Maximum number of frames that decide the equalisation factor. Half of the right factor costs
under 0.1 dB, double 1.4 dB."""

ROW_CHANNELS = 8
"""Channels of one row of a 2x2 block in the output layer: two pixels of three colours, and two that
are dropped. ONNX Runtime's integer convolution takes 0.58 of the time with 16 channels that it
takes with 12 (AVX-512, 32 input channels, 129x129 px)."""


def integer_form(
    generator: nn.Module, frames: NDArray[np.uint8], *, uint8_ends: bool = True
) -> nn.Module:
    """Return a copy of a trained U-Net between pixels, ready to be traced and quantised.

    Args:
        generator: a U-Net as it was trained.
        frames: real inputs, (N, H, W, 3) uint8 BGR.
        uint8_ends: let the first convolution take pixel levels and the last one return them. False
            keeps the conversions of :class:`.PixelGenerator` in float.
    """
    rewritten = replace_transposed_convs(swap_channels(fold(generator)))
    if not uint8_ends:
        return PixelGenerator(rewritten, order="bgr")
    assert isinstance(rewritten, UNetGenerator), "no other network is exported as int8"
    return IntegerGenerator(equalise_output_inputs(rewritten, frames))


class IntegerGenerator(nn.Module):
    """A U-Net between pixels in which every operation has an integer kernel.

    Input: ``(level - 127.5) / 127.5`` has no integer zero point. The graph subtracts 128, and the
    bias of the first convolution compensates for the half level; only the padding stands for level
    128, not 127.5. The convolution reads 2x2 pixel blocks with 12 channels, because a kernel over 3
    channels spends its time on fetching three bytes at a time.

    Output: ``127.5 tanh(x) + 127.5`` equals ``255 sigmoid(2x)``. The output layer's weights are
    doubled and followed by a sigmoid, whose integer form is a lookup table of 256 levels.

    Args:
        generator: with transposed convolutions replaced, (N, 3, H, W) BGR signals in and out. It
            becomes part of this module and is changed.
    """

    def __init__(self, generator: UNetGenerator) -> None:
        super().__init__()
        first, last = first_and_last_conv(generator)
        assert isinstance(first, nn.Conv2d), "encoder blocks begin with a convolution"
        assert isinstance(last, nn.Conv2d), "transposed convolutions are replaced"
        _, *others = generator.encoder[0].children()
        generator.encoder[0] = nn.Sequential(_conv_over_blocks(first), *others)
        generator.output = nn.Sequential(_conv_into_rows(last), nn.Sigmoid(), Quantise(), Rows())
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

    def __init__(self) -> None:
        super().__init__(scale=1 / HALF_RANGE, zero_point=ZERO_LEVEL)

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        """Scale a tensor of any shape to [-128 / 127.5, 127 / 127.5]."""
        if torch.onnx.is_in_onnx_export():
            return self._traced("DequantizeLinear", levels, torch.float32)
        return (levels.float() - self.zero_point) * self.scale


class Quantise(_Scale):
    """Turn brightness in [0, 1] into uint8 levels; halves round to even."""

    def __init__(self) -> None:
        super().__init__(scale=1 / 255, zero_point=0)

    def forward(self, brightness: torch.Tensor) -> torch.Tensor:
        """Round a tensor of any shape."""
        if torch.onnx.is_in_onnx_export():
            return self._traced("QuantizeLinear", brightness, torch.uint8)
        return (brightness * 255).round().to(torch.uint8)


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
def equalise_output_inputs(generator: UNetGenerator, frames: NDArray[np.uint8]) -> UNetGenerator:
    """Return a copy in which both inputs of the output layer have the same range.

    The output layer reads the last decoder block and, through the skip, the first encoder block.
    Integers represent both with one scale, and in a trained generator the skip is ten times
    smaller. ReLU and LeakyReLU commute with a positive factor, so the first layer is multiplied by
    one, and the layers that read it are divided: cross-layer equalisation (Nagel et al. 2019,
    arXiv 1906.04721, section 4.1).

    Args:
        generator: with BatchNorm folded and transposed convolutions replaced, BGR signals.
        frames: real inputs, (N, H, W, 3) uint8 BGR.
    """
    equalised = copy.deepcopy(generator)
    decoder_peak = skip_peak = 0.0
    for frame in frames[:EQUALISE_FRAMES]:
        features: list[torch.Tensor] = []
        equalised(to_signal(torch.from_numpy(frame[None]), "bgr"), features)
        decoder_peak = max(decoder_peak, float(features[-1].abs().max()))
        skip_peak = max(skip_peak, float(equalised.skip(features[0]).abs().max()))
    if decoder_peak == 0 or skip_peak == 0:
        return equalised  # an input that is always zero has no range
    factor = decoder_peak / skip_peak
    first, second, last = (block[0] for block in (*equalised.encoder[:2], equalised.output))
    for values in first.parameters():
        values.mul_(factor)
    second.weight.div_(factor)
    last.weight[:, -first.out_channels :].div_(factor)  # the skip's channels come last
    return equalised


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


def _conv_into_rows(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the output convolution for a sigmoid, its channels in the order of :class:`Rows`."""
    assert conv.bias is not None, "the output layer has no norm, hence a bias"
    rows = nn.Conv2d(conv.in_channels, 2 * ROW_CHANNELS, 2, padding=1)
    for target, source in ((rows.weight, conv.weight), (rows.bias, conv.bias)):
        assert target is not None
        # (4 * 3, ...) -> (row, column and colour, ...); twice, because sigmoid(2x) replaces tanh.
        blocks = 2 * source.detach().reshape(2, -1, *source.shape[1:])
        spare = blocks.new_zeros(2, ROW_CHANNELS - blocks.shape[1], *blocks.shape[2:])
        target.data = torch.cat([blocks, spare], dim=1).flatten(0, 1)
    return rows
