"""The Frechet distance between two sets of images, in the features of some network.

Heusel et al. 2017 (arXiv 1706.08500), equation 6: with the mean and covariance of the features of
both sets, ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["FeatureStatistics", "frechet_distance"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStatistics:
    """Mean and covariance of some images' features.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased.
    """

    mean: torch.Tensor
    covariance: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor) -> FeatureStatistics:
        """Return those of (N, D) features; with N not well above D, distances come out too large.

        Raises:
            ValueError: there are fewer than two images.
        """
        if len(features) < 2:
            raise ValueError(f"a covariance needs two images or more, not {len(features)}")
        exact = features.double()
        mean = exact.mean(dim=0)
        spread = exact - mean
        return cls(mean=mean, covariance=spread.T @ spread / (len(exact) - 1))


def frechet_distance(one: FeatureStatistics, two: FeatureStatistics) -> float:
    """Return the distance, 0 or more; 0 for equal statistics.

    The trace of ``(C1 C2)^(1/2)`` is that of ``(R C2 R)^(1/2)`` with ``R = C1^(1/2)``. Both roots
    are of symmetric matrices, so nothing complex appears, even when covariances are singular.
    """
    values, vectors = torch.linalg.eigh(one.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root @ two.covariance @ root).clamp(min=0)
    traces = one.covariance.trace() + two.covariance.trace() - 2 * eigenvalues.sqrt().sum()
    distance = (one.mean - two.mean).square().sum() + traces
    return max(float(distance), 0.0)  # rounding may leave -1e-15
