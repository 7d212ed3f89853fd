"""What a student learns from its teacher, and the adapters that it needs for that."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError
from p2p_train.losses.adversarial import l1_loss
from p2p_train.losses.image_losses import (
    channel_distance,
    dissimilarity,
    feature_distance,
    style_distance,
    total_variation,
)
from p2p_train.tensorfile import load_weights

if TYPE_CHECKING:
    from p2p_train.networks.generator import UNetGenerator

    from .teacher import Teacher

__all__ = ["Distillation"]

TAPS = (1, 3, -4, -2)
"""Encoder and decoder blocks whose channels are compared: at 1/4 and 1/16 of the image in each."""


class Distillation:
    """Compares a student's drawings with its teacher's.

    Args:
        teacher: answers the same inputs.
        student: the generator that learns.
        weights: of the losses that count, see :attr:`.TrainConfig.distillation`.

    Attributes:
        adapters: bring the student's channels to the number of the teacher's; they learn with the
            student and are left behind at the end. Empty unless channels are compared.
    """

    def __init__(self, teacher: Teacher, student: UNetGenerator, weights: dict[str, float]) -> None:
        self._teacher = teacher
        self._names = tuple(weights)
        taps = TAPS if "distil_channel" in weights else ()
        self.adapters = nn.ModuleList(
            _adapter(_widths(student)[tap], _widths(teacher.generator)[tap]) for tap in taps
        )

    def compare(
        self, source: torch.Tensor, image: torch.Tensor, features: list[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Return the losses that count, by name and unweighted.

        Args:
            source: the inputs, (N, 3, H, W) in [-1, 1].
            image: what the student made of them.
            features: what each of its levels made.
        """
        answer, teachers = self._teacher.answer(source)

        @cache
        def seen() -> list[tuple[torch.Tensor, torch.Tensor]]:
            with torch.no_grad():
                expected = self._teacher.look(source, answer)
            return list(zip(self._teacher.look(source, image), expected, strict=True))

        def adapted() -> list[tuple[torch.Tensor, torch.Tensor]]:
            taps = zip(TAPS, self.adapters, strict=True)
            return [(adapter(features[tap].float()), teachers[tap]) for tap, adapter in taps]

        lessons = {
            "distil_l1": lambda: l1_loss(image, answer.float()),
            "distil_ssim": lambda: dissimilarity(image, answer),
            "distil_feature": lambda: feature_distance(seen()),
            "distil_style": lambda: style_distance(seen()),
            "distil_channel": lambda: channel_distance(adapted()),
            "distil_tv": lambda: total_variation(image),
        }
        return {name: lessons[name]() for name in self._names}

    def training_state(self) -> dict[str, Any]:
        """Return what a run needs to go on."""
        return {"adapters": self.adapters.state_dict(), "teacher": self._teacher.sha256}

    def restore(self, state: dict[str, Any]) -> None:
        """Read what :meth:`training_state` returned.

        Raises:
            CheckpointError: the run began with another teacher.
        """
        if state["teacher"] != self._teacher.sha256:
            raise CheckpointError(
                "the teacher or its eyes have other weights than when this run began; keep a copy "
                "of a checkpoint that is still being trained, and name it with --teacher"
            )
        load_weights(self.adapters, state["adapters"], "distillation")


def _adapter(student: int, teacher: int) -> nn.Module:
    convolution = nn.Conv2d(student, teacher, 1)
    nn.init.kaiming_normal_(convolution.weight, a=0.2)
    return nn.Sequential(convolution, nn.LeakyReLU(0.2))


def _widths(generator: UNetGenerator) -> list[int]:
    return [level[0].out_channels for level in (*generator.encoder, *generator.decoder)]
