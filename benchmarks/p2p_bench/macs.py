"""How much a generator multiplies: counted from its shape, without torch."""

from __future__ import annotations

__all__ = ["unet_macs"]

KERNEL = 4 * 4
HALF_KERNEL = 2 * 2
"""Output pixels of a 4x4 transposed convolution of stride 2 read 2x2 input pixels each."""


def unet_macs(*, ngf: int, downsamplings: int, height: int, width: int, channels: int = 3) -> int:
    """Return the multiply-accumulates of one frame through the project's U-Net.

    A transposed convolution is counted by what it computes, 4x4 products per *input* pixel. Tools
    that count them per output pixel arrive at four times as many.

    Args:
        ngf: channels after the first layer.
        downsamplings: how often the frame is halved.
        height, width: of the frame in pixels.
        channels: of input and output.
    """
    widths = [ngf * min(2**level, 8) for level in range(downsamplings)]
    total, inputs = 0, channels
    for level, outputs in enumerate(widths):
        pixels = (height >> level + 1) * (width >> level + 1)
        total += pixels * inputs * outputs * KERNEL
        inputs = outputs
    for level in reversed(range(downsamplings)):
        outputs = widths[level - 1] if level else channels
        pixels = (height >> level) * (width >> level)
        total += pixels * inputs * outputs * HALF_KERNEL
        inputs = 2 * outputs  # the skip is concatenated
    return total
