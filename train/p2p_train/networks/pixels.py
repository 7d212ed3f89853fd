"""Pixels (files, devices) to signals (networks) and back: the only normalisation in the project.

Export traces these two functions into the graph, so the device never repeats them.
"""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["HALF_RANGE", "LUMA_RGB", "ChannelOrder", "luma", "to_pixels", "to_signal"]

ChannelOrder = Literal["rgb", "bgr"]

HALF_RANGE = 127.5
"""Half of the pixels' range: mean 0.5 and standard deviation 0.5, on a scale of 0 to 255."""

LUMA_RGB = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness: ITU-R BT.601."""


def to_signal(pixels: torch.Tensor, order: ChannelOrder = "rgb") -> torch.Tensor:
    """Convert pixels to a signal.

    Args:
        pixels: (N, H, W, 3) uint8 BGR, 0-255.
        order: the signal's channels. Networks are trained with ``rgb``; ``bgr`` is for exported
            ones, whose first convolution includes the swap.

    Returns:
        (N, 3, H, W) float32 in [-1, 1], contiguous.
    """
    levels = pixels.to(torch.float32).permute(0, 3, 1, 2)  # (N, 3, H, W)
    return (_swap(levels, order) / HALF_RANGE - 1.0).contiguous()


def to_pixels(signal: torch.Tensor, order: ChannelOrder = "rgb") -> torch.Tensor:
    """Convert a signal to pixels; halves round to even, values outside [-1, 1] are clamped.

    Args:
        signal: (N, 3, H, W) float in [-1, 1].
        order: the signal's channels, as for :func:`to_signal`.

    Returns:
        (N, H, W, 3) uint8 BGR.
    """
    levels = (signal.to(torch.float32) * HALF_RANGE + HALF_RANGE).round().clamp(0, 255)
    return _swap(levels, order).permute(0, 2, 3, 1).contiguous().to(torch.uint8)  # (N, H, W, 3)


def luma(signal: torch.Tensor) -> torch.Tensor:
    """Return the brightness, (N, 1, H, W) float32 in [-1, 1], of an RGB signal, (N, 3, H, W)."""
    red, green, blue = LUMA_RGB
    signal = signal.float()
    return red * signal[:, :1] + green * signal[:, 1:2] + blue * signal[:, 2:]


def _swap(channels: torch.Tensor, order: ChannelOrder) -> torch.Tensor:
    return channels.flip(1) if order == "rgb" else channels
