"""How far an image is from its reference, which is a teacher's image or the photo itself.

Every function takes the side that learns first, and its reference second. Losses are computed in
float32, whatever the networks ran in. Those of features are relative to the reference's values, so
that a weight means the same whatever the features' scale.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

__all__ = [
    "channel_distance",
    "dissimilarity",
    "feature_distance",
    "style_distance",
    "total_variation",
]

Pair = tuple[torch.Tensor, torch.Tensor]
"""Features of the image and of its reference, (N, C, H, W) each."""

WINDOW_PX = 8
STRIDE_PX = 4
BRIGHTNESS_RGB = (0.299, 0.587, 0.114)
SIGNAL_RANGE = 2.0
TINY = 1e-6


def dissimilarity(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return 1 - SSIM of two signals' luma.

    Wang et al. 2004, equation 13, with flat windows of 8 px every 4 px, as that paper's section
    III-B begins with: a tenth of the Gaussian window's time, and as good a direction to learn in.

    Args:
        image, reference: (N, 3, H, W) RGB in [-1, 1].
    """
    x, y = _luma(image), _luma(reference)
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)  # (N, 5, H, W)
    mean_x, mean_y, xx, yy, xy = functional.avg_pool2d(moments, WINDOW_PX, STRIDE_PX).unbind(dim=1)
    means, c1, c2 = mean_x * mean_y, (0.01 * SIGNAL_RANGE) ** 2, (0.03 * SIGNAL_RANGE) ** 2
    squares = mean_x.square() + mean_y.square()
    covariance, variances = xy - means, xx + yy - squares
    similar = (2 * means + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return 1 - similar.mean()


def feature_distance(seen: Iterable[Pair]) -> torch.Tensor:
    """Return how far features are apart, place by place, of the reference's mean magnitude."""
    return _mean(_relative_l1(mine.float(), references.float()) for mine, references in seen)


def style_distance(seen: Iterable[Pair]) -> torch.Tensor:
    """Return the same of Gram matrices: which features go together, wherever they are.

    Gatys et al. 2016, "Image style transfer using convolutional neural networks", equation 3.
    """
    return _mean(_relative_l1(_gram(mine), _gram(references)) for mine, references in seen)


def channel_distance(layers: Iterable[Pair]) -> torch.Tensor:
    """Return how far the channels' means are apart, of the reference's mean square.

    The mean over an image says how much a channel matters to it: arXiv 2108.06908, equation 8.
    """
    return _mean(_relative_square(_attention(m), _attention(t)) for m, t in layers)


def total_variation(image: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of neighbouring pixels, of (N, 3, H, W) signals."""
    image = image.float()
    across = (image[..., 1:] - image[..., :-1]).abs().mean()
    return across + (image[..., 1:, :] - image[..., :-1, :]).abs().mean()


def _relative_l1(mine: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return functional.l1_loss(mine, references) / (references.abs().mean() + TINY)


def _relative_square(mine: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    return functional.mse_loss(mine, references) / (references.square().mean() + TINY)


def _attention(features: torch.Tensor) -> torch.Tensor:
    return features.float().mean(dim=(2, 3))  # (N, C)


def _gram(features: torch.Tensor) -> torch.Tensor:
    flat = features.float().flatten(2)  # (N, C, H * W)
    return flat @ flat.transpose(1, 2) / flat.shape[2]  # (N, C, C)


def _mean(losses: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses)).mean()


def _luma(signal: torch.Tensor) -> torch.Tensor:
    red, green, blue = BRIGHTNESS_RGB
    signal = signal.float()
    return red * signal[:, :1] + green * signal[:, 1:2] + blue * signal[:, 2:]
