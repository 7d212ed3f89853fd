"""Sizes and cost of the U-Net: image sides, channels and MACs, computed without torch."""

from __future__ import annotations

from typing import Literal

from p2p_runtime.errors import ConfigError

__all__ = [
    "MAX_DOWNSAMPLINGS", "MIN_DOWNSAMPLINGS", "NORM_GROUPS", "Norm", "downsamplings_for",
    "unet_macs", "unet_widths",
]  # fmt: skip

Norm = Literal["batch", "instance"]

MIN_DOWNSAMPLINGS = 4
"""Minimum number of downsamplings: with fewer, a pixel sees little of the picture."""

MAX_DOWNSAMPLINGS = 8
"""Number of downsamplings in the paper: 256 px -> 1 px."""

NORM_GROUPS = 8
"""Number of groups of GroupNorm in the projected discriminator."""

MAX_WIDTH_RATIO = 8
"""Channels of the widest layer over those of the first layer."""

KERNEL_TAPS = 4 * 4
"""Products an input and output channel, per output pixel of a convolution and per *input* pixel of
a transposed one. Tools that count a transposed convolution per output pixel say four times more."""


def downsamplings_for(height: int, width: int, at_most: int = MAX_DOWNSAMPLINGS) -> int:
    """Return the number of downsamplings that bring the shorter side to 1 px, or ``at_most``.

    Raises:
        ConfigError: a side is not a multiple of two to that power, so that skips would not fit.
    """
    downsamplings = min(at_most, max(min(height, width), 1).bit_length() - 1)
    step = 2**downsamplings
    if min(height, width) < 32 or height % step or width % step:
        powers = range(min(5, at_most), at_most + 1)
        near = min(
            (_nearest(height, width, power, at_most) for power in powers),
            key=lambda size: abs(size[0] - height) + abs(size[1] - width),
        )
        fewer = [p for p in range(MIN_DOWNSAMPLINGS, at_most) if not (height | width) % 2**p]
        raise ConfigError(
            f"image size {width}x{height} does not fit the U-Net, which halves both sides until "
            f"the shorter is 1 px, {at_most} times at most; the nearest size is {near[1]}x{near[0]}"
            + (f", or give --num-downs {fewer[-1]}" if fewer and min(height, width) >= 32 else "")
        )
    return downsamplings


def _nearest(height: int, width: int, power: int, at_most: int) -> tuple[int, int]:
    """Return the height and width nearest to these that are brought down so many times."""
    step = 2**power
    near = [max(step, 32, round(side / step) * step) for side in (height, width)]
    if power < at_most:  # then the shorter side ends at 1 px
        near[height > width] = step
    return near[0], near[1]


def unet_widths(ngf: int, downsamplings: int) -> list[int]:
    """Return the output channels of the encoder blocks of :class:`.UNetGenerator`."""
    return [ngf * min(2**level, MAX_WIDTH_RATIO) for level in range(downsamplings)]


def unet_macs(*, height: int, width: int, ngf: int, downsamplings: int) -> int:
    """Return the multiply-accumulate operations of one RGB image through :class:`.UNetGenerator`.

    Its height and width are in pixels.
    """
    total, inputs = 0, 3
    for level, outputs in enumerate(unet_widths(ngf, downsamplings)):
        # Decoder block: from the encoder block's output and, but for the innermost, an equal skip.
        decoder_inputs = outputs if level == downsamplings - 1 else 2 * outputs
        pixels = height * width // 4 ** (level + 1)  # at the encoder block's output
        total += pixels * KERNEL_TAPS * (inputs * outputs + decoder_inputs * inputs)
        inputs = outputs
    return total
