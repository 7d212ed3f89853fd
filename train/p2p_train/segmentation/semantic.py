"""Showing the generator's pictures to a judge that learned from real photos.

Where it reads another class than the input asked for, the generator is told so. Hoffman et al.
2018, "CyCADA" (arXiv 1711.03213), call this the semantic consistency loss; there as here the
network that reads has finished learning.

The same look tells whether the picture has the photo's textures: their style, in the word of Gatys
et al. 2016. A loss that compares pixels asks for the mean of all streets that the labels may stand
for, which is a blur; style is taken from a whole picture, and its mean is no blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision, TrainConfig
from p2p_train.losses.image_losses import style_distance
from p2p_train.metrics.labels import IGNORED
from p2p_train.networks.pixels import HALF_RANGE
from p2p_train.precision import autocast, stop_learning
from p2p_train.tensorfile import digest

from . import Segmenter
from .network import TEXTURE_STAGES
from .segmenter import MAJORITY_PX, void_classes

__all__ = ["SemanticLoss", "load_semantic_loss"]

NOBODY = -1
"""The class of a colour that no class of the palette has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SemanticLoss:
    """Finds the labels in generated pictures, and says how far they are from those asked for.

    Attributes:
        judge: whose network reads; in eval mode, without gradients of its own.
        precision: what it runs in.
        sha256: of its weights: a run must go on with the reader that it began with, and should not
            be scored by it.
    """

    judge: Segmenter
    precision: Precision
    sha256: str

    def look(self, image: torch.Tensor, stages: int | None = None) -> list[torch.Tensor]:
        """Return what the judge's stages, or its first ones, see in (N, 3, H, W) in [-1, 1]."""
        with autocast(self.precision, image.device):
            return self.judge.network.feature_maps(image, stages)

    def style_loss(self, seen: list[torch.Tensor], photo: torch.Tensor) -> torch.Tensor:
        """Return how far the style that was seen is from a photo's; see :func:`.style_distance`.

        Args:
            seen: what :meth:`look` returned of generated pictures; gradients flow into this.
            photo: the real ones, (N, 3, H, W) RGB in [-1, 1].
        """
        with torch.no_grad():
            real = self.look(photo, TEXTURE_STAGES)
        return style_distance(zip(seen[:TEXTURE_STAGES], real, strict=True))

    def labels_loss(self, seen: list[torch.Tensor], source: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of what is read and what was asked for.

        Args:
            seen: what :meth:`look` returned of generated pictures; gradients flow into this.
            source: the label maps they were made of, (N, 3, H, W) RGB in [-1, 1].
        """
        with autocast(self.precision, source.device):
            logits = self.judge.network.classify(seen)  # (N, classes, H / 2, W / 2)
        wanted = self.wanted(source)
        lost = functional.cross_entropy(
            logits.float(), wanted, ignore_index=IGNORED, reduction="sum"
        )
        return lost / (wanted != IGNORED).sum().clamp(min=1)

    @torch.no_grad()
    def wanted(self, source: torch.Tensor) -> torch.Tensor:
        """Return the class that each pixel should show, as :meth:`.Segmenter.label_ids` does.

        Args:
            source: (N, 3, H, W) RGB in [-1, 1], in the palette's own colours.

        Returns:
            (N, H / 2, W / 2) int64 channels of the judge's network, ``IGNORED`` for others.
        """
        palette = self.judge.contract.palette
        assert palette is not None  # a judge without one does not exist
        votes = (*self.judge.classes, *void_classes(palette))
        ids = _class_ids(source, palette)
        ballot = torch.stack([ids == c for c in votes], dim=1).float()  # (N, votes, H, W)
        padded = functional.pad(ballot, (MAJORITY_PX // 2,) * 4, mode="replicate")
        counts = functional.avg_pool2d(padded, MAJORITY_PX, stride=2, divisor_override=1)
        most, winner = counts.max(dim=1)
        asked = (most > 0) & (winner < len(self.judge.classes))
        return torch.where(asked, winner, IGNORED)


def load_semantic_loss(
    config: TrainConfig, contract: PixelContract, device: torch.device
) -> SemanticLoss | None:
    """Load the judge that ``config.reader`` names; None if it names none.

    Raises:
        CheckpointError: the file is missing, broken, or no judge.
        ConfigError: the judge knows other labels, or another size, than the generator reads.
    """
    if config.reader is None:
        return None
    judge = Segmenter.load(Path(config.reader), torch.device("cpu"))
    judge.check_labels(contract)
    theirs, ours = ((c.height, c.width) for c in (judge.contract, contract))
    if theirs != ours:
        raise ConfigError(
            f"the reader {config.reader} was trained on {theirs[0]}x{theirs[1]} px, the generator "
            f"makes {ours[0]}x{ours[1]}; train one with p2p-train judge --size {ours[0]}"
        )
    sha256 = digest(judge.network.state_dict())
    stop_learning(judge.network, device, config.precision)
    return SemanticLoss(judge=judge, precision=config.precision, sha256=sha256)


def _class_ids(source: torch.Tensor, palette: Palette) -> torch.Tensor:
    """Return (N, H, W) int64 places in the palette of an RGB signal's colours."""
    levels = ((source + 1) * HALF_RANGE).round().long()  # (N, 3, H, W)
    codes = (levels[:, 0] << 16) | (levels[:, 1] << 8) | levels[:, 2]
    colours = torch.as_tensor(palette.colours_bgr().astype("int64"), device=source.device)
    known = (colours[:, 2] << 16) | (colours[:, 1] << 8) | colours[:, 0]
    order = known.argsort(stable=True)
    place = torch.searchsorted(known[order], codes).clamp(max=len(known) - 1)
    found = order[place]
    return torch.where(known[found] == codes, found, NOBODY)
