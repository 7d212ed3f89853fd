"""Which image sizes fit the U-Net, decided without torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["MAX_DOWNSAMPLINGS", "Norm", "downsamplings_for"]

Norm = Literal["batch", "instance"]

MAX_DOWNSAMPLINGS = 8
"""256 px -> 1 px, as in the paper."""


def downsamplings_for(height: int, width: int, at_most: int = MAX_DOWNSAMPLINGS) -> int:
    """Return how often the U-Net halves an image: until its shorter side is 1 px, or ``at_most``.

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
