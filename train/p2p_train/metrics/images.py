"""Distance of generated images to the photos: L1, PSNR and SSIM."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from p2p_train.networks.pixels import HALF_RANGE, LUMA_RGB

__all__ = ["eval_mode", "image_l1", "psnr_db", "ssim"]

WINDOW_PX, WINDOW_SIGMA_PX = 11, 1.5
"""Side and standard deviation of the Gaussian window of SSIM."""

Network = TypeVar("Network", bound=nn.Module)


@contextlib.contextmanager
def eval_mode(network: Network) -> Iterator[Network]:
    """Put a network in eval mode, and afterwards each of its modules back in its own."""
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield network
    finally:
        for module, training in before.items():
            module.training = training


def image_l1(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of (N, H, W, 3) uint8 images, (N,) in signal units."""
    return (image.float() - target.float()).abs().mean(dim=(1, 2, 3)) / HALF_RANGE


def psnr_db(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratios of (N, H, W, 3) uint8 images, (N,) float32 in dB.

    It is 99 where the images are equal, so that means stay finite.
    """
    mean_square = (image.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(255.0**2 / mean_square)).clamp(max=99.0)


def ssim(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the structural similarity of each image to its target, on luma.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity",
    equation 13, with the paper's Gaussian window (11 px, sigma 1.5 px) and constants (0.01, 0.03);
    windows that do not lie wholly inside the image are left out. From (N, H, W, 3) uint8 BGR, with
    sides of 11 px or more, to (N,) float32, -1 to 1, 1 for equal images.
    """
    one, two = _luma(image), _luma(target)  # (N, 1, H, W)
    stack = torch.cat([one, two, one * one, two * two, one * two])
    mean1, mean2, square1, square2, product = _blur(stack).chunk(5)
    small1, small2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    brightness = (2 * mean1 * mean2 + small1) / (mean1**2 + mean2**2 + small1)
    variances = square1 - mean1**2 + square2 - mean2**2
    structure = (2 * (product - mean1 * mean2) + small2) / (variances + small2)
    return (brightness * structure).mean(dim=(1, 2, 3))


def _luma(pixels: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor(LUMA_RGB[::-1], device=pixels.device)  # of blue, green and red
    return (pixels.float() @ weights)[:, None]  # (N, 1, H, W)


def _blur(maps: torch.Tensor) -> torch.Tensor:
    """Average (N, 1, H, W) under the window; each side loses 10 px.

    Sums of shifted maps take a quarter of the time of a one-channel convolution on a CPU.
    """
    weights = [math.exp(-0.5 * (i / WINDOW_SIGMA_PX) ** 2) for i in range(-5, 6)]
    for axis in (2, 3):
        length = maps.shape[axis] - WINDOW_PX + 1
        shifted = [maps.narrow(axis, first, length) for first in range(WINDOW_PX)]
        maps = torch.zeros_like(shifted[0])
        for weight, part in zip(weights, shifted, strict=True):
            maps.add_(part, alpha=weight / sum(weights))
    return maps
