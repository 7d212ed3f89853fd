"""What every loss is: a name, a weight, and a value for what a network made of a micro-batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from p2p_train.config import TrainConfig
from p2p_train.distillation import Teacher
from p2p_train.networks.generator import GeneratorOutput
from p2p_train.segmentation.segmenter import FrozenSegmenter

__all__ = [
    "Curve", "DistillationLoss", "FeaturePairs", "GeneratorLoss", "GeneratorOutput", "Loss",
    "LossBatch", "LossSetup", "distillation_curve", "feature_distance",
]  # fmt: skip

T = TypeVar("T")

FeaturePairs = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""Features of the image and of its reference, (N, C, h, w) each, fine to coarse."""

TINY = 1e-6
"""Added to a divisor, so that constant features are no division by zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Where a loss is drawn in ``curves.png``: under a panel's title and unit, by a label.

    Attributes:
        progress: name and decimals in the progress line; None for losses that are not shown there.
        colour: as matplotlib names it; empty for one by the place in the panel.
    """

    panel: str
    label: str = "training"
    unit: str = ""
    progress: tuple[str, int] | None = None
    colour: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossBatch:
    """The pairs of a micro-batch, (N, 3, H, W) RGB in [-1, 1], and what losses share about them.

    Attributes:
        source: the generator's inputs.
        target: the photos.
        ignored: which pixels do not count, (N, 1, H, W); None if all do. At those, outputs are
            made equal to the photos before a loss or a discriminator sees them.
        labels: label maps that lie beside inputs that are pictures; or None.
    """

    source: torch.Tensor
    target: torch.Tensor
    ignored: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    _shared: dict[str, Any] = field(default_factory=dict)

    def part(self, pairs: slice) -> LossBatch:
        """Return a micro-batch of some of the pairs."""
        ignored, labels = (None if t is None else t[pairs] for t in (self.ignored, self.labels))
        return LossBatch(
            source=self.source[pairs], target=self.target[pairs], ignored=ignored, labels=labels
        )

    def fill_ignored(self, image: torch.Tensor) -> torch.Tensor:
        """Return (N, 3, H, W) images with the photos' pixels where pixels do not count."""
        if self.ignored is None:
            return image
        return torch.where(self.ignored, self.target.to(image.dtype), image)

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """Return what ``compute`` returned when ``key`` was asked for first."""
        if key not in self._shared:
            self._shared[key] = compute()
        value: T = self._shared[key]
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class LossSetup:
    """The settings and networks that losses are made from; None for those a run does without."""

    config: TrainConfig
    discriminator: nn.Module | None = None
    teacher: Teacher | None = None
    segmenter: FrozenSegmenter | None = None


class Loss(ABC):
    """What the log, the curves, the progress line and checkpoints know of a loss.

    Attributes:
        name: key in the log and in checkpoints.
        curve: where it is drawn.
    """

    name: ClassVar[str]
    curve: ClassVar[Curve]

    def __init__(self, setup: LossSetup) -> None:
        self.setup = setup

    @classmethod
    @abstractmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Return whether a run with these settings computes and logs the loss."""


class GeneratorLoss(Loss):
    """One term of what the generator minimises.

    Attributes:
        setting: the setting of :class:`.LossConfig` that holds the weight.
        memory: what the loss remembers of earlier steps, which checkpoints keep; or None.
    """

    setting: ClassVar[str]
    memory: nn.Module | None = None

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Return whether the weight is not 0."""
        return bool(getattr(config.loss, cls.setting))

    def weight(self, progress: float) -> float:
        """Return the factor of the loss when a share ``progress`` (0-1) of the steps is done."""
        return float(getattr(self.setup.config.loss, self.setting))

    @abstractmethod
    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the unweighted loss, a scalar."""


class DistillationLoss(GeneratorLoss):
    """A distance between the generator and its teacher.

    Losses of features are relative to the teacher's values, so that a weight means the same
    whatever the features' scale.
    """

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Return whether there is a teacher and the weight is not 0."""
        return config.loss.teacher is not None and super().applies(config)

    @property
    def teacher(self) -> Teacher:
        """The teacher, which exists wherever the loss applies."""
        assert self.setup.teacher is not None
        return self.setup.teacher

    def teacher_image(self, batch: LossBatch) -> torch.Tensor:
        """Return what the teacher makes of the inputs, without gradients."""
        return batch.once("teacher image", lambda: self.teacher.translate(batch.source))

    def feature_pairs(self, batch: LossBatch, output: GeneratorOutput) -> FeaturePairs:
        """Return features of both images, as the teacher's discriminator computes them."""
        features = batch.once("features", lambda: self.teacher.features(batch.source, output.image))
        reference = batch.once("teacher features", lambda: self._teacher_features(batch))
        return list(zip(features, reference, strict=True))

    @torch.no_grad()
    def _teacher_features(self, batch: LossBatch) -> list[torch.Tensor]:
        return self.teacher.features(batch.source, self.teacher_image(batch))


def distillation_curve(label: str, progress: tuple[str, int] | None = None) -> Curve:
    """Return a curve in the distillation losses' panel."""
    return Curve(panel="distance to the teacher", label=label, unit="0 = equal", progress=progress)


def feature_distance(pairs: FeaturePairs) -> torch.Tensor:
    """Return the mean L1 of the pairs, each relative to its reference's mean magnitude."""
    distances = []
    for pair in pairs:
        ours, theirs = (features.float() for features in pair)
        distances.append(nn.functional.l1_loss(ours, theirs) / (theirs.abs().mean() + TINY))
    return torch.stack(distances).mean()
