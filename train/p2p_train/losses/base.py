"""What every loss is: a name, a weight, and a value for what a network made of a micro-batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from p2p_train.config import TrainConfig
from p2p_train.distillation import Teacher
from p2p_train.networks.generator import GeneratorOutput
from p2p_train.segmentation.segmenter import FrozenSegmenter

__all__ = ["Curve", "GeneratorLoss", "GeneratorOutput", "Loss", "LossBatch", "LossSetup"]

T = TypeVar("T")


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
        corners: (top, left) of each in its whole picture, in pixels; None if these are whole.
    """

    source: torch.Tensor
    target: torch.Tensor
    ignored: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    corners: tuple[tuple[int, int], ...] | None = None
    _shared: dict[str, Any] = field(default_factory=dict)

    def part(self, pairs: slice) -> LossBatch:
        """Return a micro-batch of some of the pairs."""
        ignored, labels = (None if t is None else t[pairs] for t in (self.ignored, self.labels))
        return LossBatch(
            source=self.source[pairs],
            target=self.target[pairs],
            ignored=ignored,
            labels=labels,
            corners=None if self.corners is None else self.corners[pairs],
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
    """What the log, the curves, the progress line and checkpoints know of a loss."""

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
