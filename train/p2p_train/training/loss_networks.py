"""Load the trained networks that losses compare with: a teacher and a segmenter."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision, TrainConfig
from p2p_train.distillation import FeatureNetwork, Teacher
from p2p_train.precision import freeze
from p2p_train.segmentation import Segmenter
from p2p_train.segmentation.frozen import FrozenSegmenter, load_frozen_segmenter
from p2p_train.tensorfile import digest

from .checkpoint import Checkpoint, find_checkpoint

__all__ = ["load_loss_networks", "load_teacher"]


def load_loss_networks(
    config: TrainConfig, contract: PixelContract, device: torch.device
) -> tuple[Teacher | None, FrozenSegmenter | None]:
    """Load the trained networks that losses compare with, if the config names them.

    Raises:
        CheckpointError: a file is missing or broken, or the teacher's run had no discriminator.
        ConfigError: one was trained on other inputs.
    """
    loss, precision = config.loss, config.precision
    teacher = segmenter = None
    if loss.teacher is not None:
        teacher = load_teacher(
            Path(loss.teacher), contract, device, precision, loss.feature_network
        )
    if loss.segmenter is not None:
        segmenter = load_frozen_segmenter(Path(loss.segmenter), contract, device, precision)
    return teacher, segmenter


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
