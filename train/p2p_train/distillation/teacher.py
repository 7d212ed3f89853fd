"""The teacher: a trained, frozen generator, and the feature network that compares images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision
from p2p_train.losses.base import GeneratorOutput
from p2p_train.networks.generator import UNetGenerator
from p2p_train.precision import autocast, freeze
from p2p_train.segmentation import Segmenter
from p2p_train.tensorfile import digest
from p2p_train.training.checkpoint import Checkpoint, find_checkpoint

__all__ = ["FeatureNetwork", "Teacher", "load_teacher"]

FeatureNetwork = Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]
"""From inputs and images, (N, 3, H, W) in [-1, 1], to features, fine to coarse."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """What a student learns from.

    Attributes:
        generator: in eval mode, without gradients.
        feature_network: computes features of images.
        precision: arithmetic of both.
        sha256: of all weights; a resumed run must have the same ones.
    """

    generator: UNetGenerator
    feature_network: FeatureNetwork
    precision: Precision
    sha256: str

    @torch.no_grad()
    def translate(self, source: torch.Tensor) -> GeneratorOutput:
        """Translate inputs (N, 3, H, W) in eval mode."""
        features: list[torch.Tensor] = []
        with autocast(self.precision, source.device):
            image: torch.Tensor = self.generator(source, features)
        return GeneratorOutput(image=image, features=features)

    def features(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of an image; gradients flow through to the image."""
        with autocast(self.precision, source.device):
            return self.feature_network(source, image)


def load_teacher(
    path: Path,
    contract: PixelContract,
    device: torch.device,
    precision: Precision,
    feature_network: str = "teacher",
) -> Teacher:
    """Load a teacher and its feature network.

    Args:
        path: run or checkpoint of the teacher.
        contract: of the student's inputs; the teacher's must be the same.
        device: where both go.
        precision: arithmetic of both.
        feature_network: ``teacher`` for the discriminator of its run, else a segmenter's file.

    Raises:
        CheckpointError: a file is missing or broken, or the teacher's run had no discriminator.
        ConfigError: the teacher or the segmenter was trained on other inputs.
    """
    path = find_checkpoint(path)
    checkpoint = Checkpoint.load(path)
    _check_inputs(path, checkpoint.contract, contract)
    generator = checkpoint.build_generator()
    if feature_network == "teacher":
        network, features = _discriminator_features(path, checkpoint)
    else:
        network, features = _segmenter_features(Path(feature_network), contract)
    sha256 = digest([generator.state_dict(), network.state_dict()])
    for module in (generator, network):
        freeze(module, device, precision)
    return Teacher(
        generator=generator, feature_network=features, precision=precision, sha256=sha256
    )


def _check_inputs(path: Path, teacher: PixelContract, student: PixelContract) -> None:
    if _inputs_of(teacher) != _inputs_of(student) or teacher.palette != student.palette:
        raise ConfigError(
            f"the inputs of the teacher {path} are {_inputs_of(teacher)}, those of its student "
            f"{_inputs_of(student)}; they must be the same"
        )


def _inputs_of(contract: PixelContract) -> str:
    labels = f"palette {contract.palette.name}" if contract.palette else "no palette"
    return f"{contract.width}x{contract.height} px with {labels}"


def _discriminator_features(path: Path, checkpoint: Checkpoint) -> tuple[nn.Module, FeatureNetwork]:
    discriminator = checkpoint.build_discriminator()
    if discriminator is None:
        raise CheckpointError(
            f"{path} holds no discriminator to compare images with; name a segmenter with "
            "--feature-network FILE.pt (p2p-train segmenter trains one)"
        )
    return discriminator, discriminator.features


def _segmenter_features(path: Path, contract: PixelContract) -> tuple[nn.Module, FeatureNetwork]:
    segmenter = Segmenter.load(path, torch.device("cpu"))
    segmenter.check_labels(contract)
    return segmenter.network, lambda source, image: segmenter.network.feature_maps(image)
