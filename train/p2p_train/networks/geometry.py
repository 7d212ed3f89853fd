"""Sizes of the U-Net: image sides and channels of its levels, computed without torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["MAX_DOWNSAMPLINGS", "MAX_WIDTH_RATIO", "Norm", "downsamplings_for", "unet_widths"]

Norm = Literal["batch", "instance"]

MAX_DOWNSAMPLINGS = 8
"""Number of downsamplings in the paper: 256 px -> 1 px."""

MAX_WIDTH_RATIO = 8
"""Channels of the widest layer over those of the first layer."""


def downsamplings_for(height: int, width: int, at_most: int = MAX_DOWNSAMPLINGS) -> int:
    """Return the number of downsamplings that bring the shorter side to 1 px, or ``at_most``.

    Raises:
        ValueError: a side is not a multiple of two to that power, so that skips would not fit.
    """
    downsamplings = min(at_most, max(min(height, width), 1).bit_length() - 1)
    step = 2**downsamplings
    if min(height, width) < 32 or height % step or width % step:
        multiple = max(step, 32)
        near = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
        raise ValueError(
            f"image size {height}x{width} does not fit the U-Net: both sides must be multiples "
            f"of {multiple} here; the nearest size is {near[0]}x{near[1]}"
        )
    return downsamplings


def unet_widths(ngf: int, downsamplings: int, max_width: int | None = None) -> list[int]:
    """Return the output channels of the encoder blocks, outermost first.

    Args:
        ngf: channels after the first layer.
        downsamplings: number of encoder blocks.
        max_width: maximum number of channels of a block; None for 8 * ``ngf``, as in the paper.
    """
    widest = min(MAX_WIDTH_RATIO * ngf, max_width or MAX_WIDTH_RATIO * ngf)
    return [min(ngf * 2**level, widest) for level in range(downsamplings)]
