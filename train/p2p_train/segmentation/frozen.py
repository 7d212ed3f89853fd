"""A trained segmenter whose weights are fixed, for losses on generated pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision
from p2p_train.metrics.labels import IGNORED
from p2p_train.networks.pixels import HALF_RANGE
from p2p_train.precision import autocast, freeze
from p2p_train.tensorfile import digest

from .segmenter import MAJORITY_PX, Segmenter, void_classes

__all__ = ["FrozenSegmenter", "load_frozen_segmenter"]

UNKNOWN = -1
"""Class of a colour that the palette does not have."""


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
        """Return the features of each stage, or of the first ones, fine to coarse.

        Args:
            image: (N, 3, H, W) RGB in [-1, 1].
            stages: how many; None for all.
        """
        with autocast(self.precision, image.device):
            return self.segmenter.network.feature_maps(image, stages)

    def logits(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Return (N, classes, H / 2, W / 2) logits of what :meth:`features` returned."""
        with autocast(self.precision, features[0].device):
            return self.segmenter.network.classify(features)

    @torch.no_grad()
    def target_classes(self, source: torch.Tensor) -> torch.Tensor:
        """Return the class that each pixel should show, as :meth:`.Segmenter.label_ids` does.

        Args:
            source: (N, 3, H, W) RGB in [-1, 1], in the palette's own colours.

        Returns:
            (N, H / 2, W / 2) int64 channels of the network; ``IGNORED`` for other classes.
        """
        palette = self.segmenter.contract.palette
        assert palette is not None  # a segmenter without one does not exist
        candidates = (*self.segmenter.classes, *void_classes(palette))
        ids = _class_ids(source, palette)  # (N, H, W)
        present = torch.stack([ids == c for c in candidates], dim=1).float()  # (N, K, H, W)
        padded = functional.pad(present, (MAJORITY_PX // 2,) * 4, mode="replicate")
        # The most frequent class of each window wins: (N, K, H / 2, W / 2) -> (N, H / 2, W / 2)
        counts = functional.avg_pool2d(padded, MAJORITY_PX, stride=2, divisor_override=1)
        most, winner = counts.max(dim=1)
        known = (most > 0) & (winner < len(self.segmenter.classes))
        return torch.where(known, winner, IGNORED)


def load_frozen_segmenter(
    path: Path, contract: PixelContract, device: torch.device, precision: Precision
) -> FrozenSegmenter:
    """Load a segmenter for losses on pictures of ``contract``'s size and labels.

    Raises:
        CheckpointError: the file is missing, broken, or no segmenter.
        ConfigError: it was trained on other labels, or on another size.
    """
    segmenter = Segmenter.load(path, torch.device("cpu"))
    segmenter.check_labels(contract)
    theirs, ours = ((c.height, c.width) for c in (segmenter.contract, contract))
    if theirs != ours:
        raise ConfigError(
            f"the segmenter {path} was trained on {theirs[1]}x{theirs[0]} px, the generator makes "
            f"{ours[1]}x{ours[0]}; train one with p2p-train segmenter --size {ours[0]}"
        )
    sha256 = digest(segmenter.network.state_dict())
    freeze(segmenter.network, device, precision)
    return FrozenSegmenter(segmenter=segmenter, precision=precision, sha256=sha256)


def _class_ids(source: torch.Tensor, palette: Palette) -> torch.Tensor:
    """Return (N, H, W) int64 places in the palette of an RGB signal's colours."""
    levels = ((source + 1) * HALF_RANGE).round().long()  # (N, 3, H, W)
    packed = (levels[:, 0] << 16) | (levels[:, 1] << 8) | levels[:, 2]  # (N, H, W)
    colours = torch.as_tensor(palette.colours_bgr().astype("int64"), device=source.device)
    known = (colours[:, 2] << 16) | (colours[:, 1] << 8) | colours[:, 0]  # (classes,)
    order = known.argsort(stable=True)
    place = torch.searchsorted(known[order], packed).clamp(max=len(known) - 1)
    found = order[place]
    return torch.where(known[found] == packed, found, UNKNOWN)
