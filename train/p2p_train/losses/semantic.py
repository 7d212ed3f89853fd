"""The semantic loss: a segmenter should find the input's classes in the generated picture.

Hoffman et al. 2018, "CyCADA" (arXiv 1711.03213), call it semantic consistency; there as here the
segmenter was trained on real photos and is frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from p2p_train.metrics.labels import IGNORED

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch

if TYPE_CHECKING:
    from p2p_train.config import TrainConfig
    from p2p_train.segmentation.frozen import FrozenSegmenter

__all__ = ["SegmenterLoss", "SemanticLoss"]


class SegmenterLoss(GeneratorLoss):
    """A loss on what the frozen segmenter computes from generated pictures."""

    @property
    def segmenter(self) -> FrozenSegmenter:
        """The segmenter, which exists wherever the loss applies."""
        assert self.setup.segmenter is not None
        return self.setup.segmenter

    def features(self, batch: LossBatch, output: GeneratorOutput) -> list[torch.Tensor]:
        """Return the features of the generated pictures; gradients flow through to them."""
        return batch.once("segmenter features", lambda: self.segmenter.features(output.image))


class SemanticLoss(SegmenterLoss):
    """Cross-entropy of the segmenter's classes and those of the input, in nats."""

    name = "generator_semantic"
    setting = "lambda_semantic"
    curve = Curve(panel="semantic loss", unit="cross-entropy, nats")

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Apply to runs with a segmenter."""
        return config.loss.segmenter is not None

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean over the pixels whose class the segmenter knows."""
        logits = self.segmenter.logits(self.features(batch, output))  # (N, classes, H / 2, W / 2)
        classes = self.segmenter.target_classes(batch.source)  # (N, H / 2, W / 2)
        total = functional.cross_entropy(
            logits.float(), classes, ignore_index=IGNORED, reduction="sum"
        )
        return total / (classes != IGNORED).sum().clamp(min=1)
