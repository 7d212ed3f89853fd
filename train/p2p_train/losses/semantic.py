"""The semantic loss: a segmenter should find the labels' classes in the generated picture.

Hoffman et al. 2018, "CyCADA" (arXiv 1711.03213), call it semantic consistency; there as here the
segmenter was trained on real photos and is frozen.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from p2p_train.config import TrainConfig
from p2p_train.metrics.evaluator import IGNORED

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch

__all__ = ["SemanticLoss"]


class SemanticLoss(GeneratorLoss):
    """Cross-entropy of the segmenter's classes and those of the label maps, in nats."""

    name = "generator_semantic"
    setting = "lambda_semantic"
    curve = Curve(panel="semantic loss", unit="cross-entropy, nats")

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Apply to runs with a segmenter."""
        return config.loss.segmenter is not None

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean over the pixels whose class the segmenter knows."""
        segmenter = self.setup.segmenter
        assert segmenter is not None
        logits = segmenter.logits(output.image).float()
        classes = segmenter.target_classes(
            batch.source if batch.labels is None else batch.labels
        )  # (N, H / 2, W / 2)
        total = functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")
        return total / (classes != IGNORED).sum().clamp(min=1)
