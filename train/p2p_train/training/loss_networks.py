"""Load the trained networks that losses compare with: a teacher and a segmenter."""

from __future__ import annotations

from pathlib import Path

import torch

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.devices import freeze
from p2p_train.distillation import Teacher
from p2p_train.segmentation.segmenter import FrozenSegmenter, Segmenter
from p2p_train.tensorfile import digest

from .checkpoint import Checkpoint, find_checkpoint

__all__ = ["load_loss_networks"]


def load_loss_networks(
    config: TrainConfig,
    contract: PixelContract,
    device: torch.device,
    label_palette: Palette | None = None,
) -> tuple[Teacher | None, FrozenSegmenter | None]:
    """Load the trained networks that losses compare with, if the config names them.

    ``label_palette`` is of label maps that lie beside inputs that are pictures.

    Raises:
        CheckpointError: a file is missing or broken, or the teacher's run had no discriminator.
        ConfigError: one was trained on other labels or another size than those of ``contract``.
    """
    labels = label_palette or contract.palette
    segmenter = _load_segmenter(config, contract, device, labels)
    return _load_teacher(config, contract, device), segmenter


def _load_teacher(
    config: TrainConfig, contract: PixelContract, device: torch.device
) -> Teacher | None:
    if config.loss.teacher is None:
        return None
    path = find_checkpoint(Path(config.loss.teacher))
    checkpoint = Checkpoint.load(path)
    ours, theirs = _inputs_of(contract), _inputs_of(checkpoint.contract)
    if ours != theirs or contract.palette != checkpoint.contract.palette:
        raise ConfigError(
            f"the inputs of the teacher {path} are {theirs}, those of its student {ours}; "
            "they must be the same"
        )
    generator, discriminator = checkpoint.build_generator(), None
    if config.loss.lambda_distil_feature or config.loss.lambda_distil_style:
        discriminator = checkpoint.build_discriminator()
        if discriminator is None:
            raise CheckpointError(
                f"{path} holds no discriminator to compare images with; leave out the losses that "
                "do: --lambda-distil-feature 0 --lambda-distil-style 0"
            )
    modules = [generator, *([discriminator] if discriminator else [])]
    sha256 = digest([module.state_dict() for module in modules])
    for module in modules:
        freeze(module, device, config.precision)
    return Teacher(
        generator=generator,
        discriminator=discriminator,
        precision=config.precision,
        sha256=sha256,
    )


def _load_segmenter(
    config: TrainConfig, contract: PixelContract, device: torch.device, labels: Palette | None
) -> FrozenSegmenter | None:
    path = config.loss.segmenter
    if path is None:
        return None
    segmenter = Segmenter.load(Path(path), torch.device("cpu"))
    segmenter.check_labels(labels)
    theirs, ours = (f"{c.width}x{c.height}" for c in (segmenter.contract, contract))
    if theirs != ours:
        raise ConfigError(
            f"the segmenter {path} was trained on {theirs} px, the generator makes "
            f"{ours}; train one with p2p-train segmenter --size {ours}"
        )
    sha256 = digest(segmenter.network.state_dict())
    freeze(segmenter.network, device, config.precision)
    return FrozenSegmenter(segmenter=segmenter, precision=config.precision, sha256=sha256)


def _inputs_of(contract: PixelContract) -> str:
    labels = f"palette {contract.palette.name}" if contract.palette else "no palette"
    return f"{contract.width}x{contract.height} px with {labels}"
