"""The teacher: a trained generator that only answers, and the eyes that compare images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision, TrainConfig
from p2p_train.networks.generator import UNetGenerator
from p2p_train.precision import autocast, stop_learning
from p2p_train.segmentation import Segmenter
from p2p_train.tensorfile import digest
from p2p_train.training.checkpoint import (
    Checkpoint,
    find_checkpoint,
)

__all__ = ["Look", "Teacher", "load_teacher"]

Look = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]
"""From inputs and images, (N, 3, H, W) in [-1, 1], to features, fine to coarse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """What a student learns from.

    Attributes:
        generator: in eval mode, without gradients.
        eyes: finds features in images.
        precision: what both run in.
        sha256: of all weights: a run must go on with the teacher that it began with.
    """

    generator: UNetGenerator
    eyes: Look
    precision: Precision
    sha256: str

    @torch.no_grad()
    def answer(self, source: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Translate inputs (N, 3, H, W) as the device would; return what each level made, too."""
        features: list[torch.Tensor] = []
        with autocast(self.precision, source.device):
            image: torch.Tensor = self.generator(source, features)
        return image, features

    def look(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return what the eyes see in an image; gradients flow through to the image."""
        with autocast(self.precision, source.device):
            return self.eyes(source, image)


def load_teacher(
    config: TrainConfig, contract: PixelContract, device: torch.device
) -> Teacher | None:
    """Load the teacher and the eyes that ``config`` names; None if it names none.

    Args:
        config: of the student.
        contract: of the student's inputs; the teacher must read the same.
        device: where they go.

    Raises:
        CheckpointError: a file is missing or broken, or the teacher's run had no discriminator.
        ConfigError: the teacher or the judge reads other inputs.
    """
    if config.teacher is None:
        return None
    path = find_checkpoint(Path(config.teacher))
    checkpoint = Checkpoint.load(path)
    _check_inputs(path, checkpoint.contract, contract)
    generator = checkpoint.build_generator()
    if config.eyes == "teacher":
        network, eyes = _discriminators_eyes(path, checkpoint)
    else:
        network, eyes = _judges_eyes(Path(config.eyes), contract)
    sha256 = digest([generator.state_dict(), network.state_dict()])
    for answering in (generator, network):
        stop_learning(answering, device, config.precision)
    return Teacher(generator=generator, eyes=eyes, precision=config.precision, sha256=sha256)


def _check_inputs(path: Path, teachers: PixelContract, students: PixelContract) -> None:
    theirs, ours = map(_inputs_in_words, (teachers, students))
    if theirs != ours or teachers.palette != students.palette:
        raise ConfigError(
            f"the teacher {path} reads {theirs}, its student {ours}; they must read the same"
        )


def _inputs_in_words(contract: PixelContract) -> str:
    labels = f"palette {contract.palette.name}" if contract.palette else "no palette"
    return f"{contract.height}x{contract.width} px with {labels}"


def _discriminators_eyes(path: Path, checkpoint: Checkpoint) -> tuple[nn.Module, Look]:
    discriminator = checkpoint.build_discriminator()
    if discriminator is None:
        raise CheckpointError(
            f"{path} holds no discriminator to compare images with; "
            "name a judge with --eyes JUDGE.pt (p2p-train judge makes one)"
        )
    return discriminator, discriminator.features


def _judges_eyes(path: Path, contract: PixelContract) -> tuple[nn.Module, Look]:
    judge = Segmenter.load(path, torch.device("cpu"))
    judge.check_labels(contract)
    return judge.network, lambda source, image: judge.network.feature_maps(image)
