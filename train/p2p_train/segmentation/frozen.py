"""A trained segmenter whose weights are fixed, for losses on generated pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from p2p_train.config import Precision
from p2p_train.metrics.labels import IGNORED
from p2p_train.networks.pixels import to_pixels
from p2p_train.precision import autocast

from .segmenter import MAJORITY_PX, Segmenter, void_classes

__all__ = ["FrozenSegmenter"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenSegmenter:
    """Computes features and classes of generated pictures; gradients flow through to them.

    Attributes:
        segmenter: in eval mode, without gradients of its own.
        precision: arithmetic of its network.
        sha256: of its weights: a resumed run must have the same ones, and the same ones must not
            score the run.
    """

    segmenter: Segmenter
    precision: Precision
    sha256: str

    def features(self, image: torch.Tensor, stages: int | None = None) -> list[torch.Tensor]:
        """Return the features of all or the first ``stages`` of (N, 3, H, W) RGB in [-1, 1]."""
        with autocast(self.precision, image.device):
            return self.segmenter.network.feature_maps(image, stages)

    def logits(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Return (N, classes, H / 2, W / 2) logits of what :meth:`features` returned."""
        with autocast(self.precision, features[0].device):
            return self.segmenter.network.classify(features)

    @torch.no_grad()
    def target_classes(self, source: torch.Tensor) -> torch.Tensor:
        """Return the class that each pixel should show, as :func:`.label_ids` does.

        Args:
            source: (N, 3, H, W) RGB in [-1, 1], in the palette's own colours.

        Returns:
            (N, H / 2, W / 2) int64 channels of the network; ``IGNORED`` for other classes.
        """
        palette = self.segmenter.contract.palette
        assert palette is not None  # a segmenter without one does not exist
        candidates = (*self.segmenter.classes, *void_classes(palette))
        blue, green, red = to_pixels(source).int().unbind(dim=3)  # (N, H, W) each
        packed = (red << 16) | (green << 8) | blue
        colours = [(r << 16) | (g << 8) | b for r, g, b in palette.colours_rgb]
        present = torch.stack([packed == colours[c] for c in candidates], dim=1)  # (N, K, H, W)
        padded = functional.pad(present.float(), (MAJORITY_PX // 2,) * 4, mode="replicate")
        # The most frequent class of each window wins: (N, K, H / 2, W / 2) -> (N, H / 2, W / 2)
        counts = functional.avg_pool2d(padded, MAJORITY_PX, stride=2, divisor_override=1)
        most, winner = counts.max(dim=1)
        known = (most > 0) & (winner < len(self.segmenter.classes))
        return torch.where(known, winner, IGNORED)
