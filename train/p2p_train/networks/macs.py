"""Multiply-accumulate operations (MACs) of the U-Net, counted from its sizes without torch."""

from __future__ import annotations

from .geometry import unet_widths

__all__ = ["unet_macs"]

KERNEL_TAPS = 4 * 4
"""Products an input and output channel, per output pixel of a convolution and per *input* pixel of
a transposed one. Tools that count a transposed convolution per output pixel say four times more."""


def unet_macs(
    *,
    height: int,
    width: int,
    ngf: int,
    downsamplings: int,
    max_width: int | None = None,
    channels: int = 3,
) -> int:
    """Return the MACs of one image through :class:`.UNetGenerator`.

    Args:
        height, width: of the image, in pixels.
        ngf, downsamplings, max_width, channels: as for :class:`.UNetGenerator`.
    """
    total, inputs = 0, channels
    for level, outputs in enumerate(unet_widths(ngf, downsamplings, max_width)):
        # Decoder block: from the encoder block's output and, but for the innermost, an equal skip.
        decoder_inputs = outputs if level == downsamplings - 1 else 2 * outputs
        pixels = height * width // 4 ** (level + 1)  # at the encoder block's output
        total += pixels * KERNEL_TAPS * (inputs * outputs + decoder_inputs * inputs)
        inputs = outputs
    return total
