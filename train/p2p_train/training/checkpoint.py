"""Checkpoints: all that a run needs to go on, in one file; see :mod:`p2p_train.tensorfile`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from p2p_runtime.errors import CheckpointError, ConfigError, ContractError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.networks.discriminators import PatchDiscriminator
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.projected import ProjectedDiscriminator
from p2p_train.tensorfile import load_weights, read_tensors, write_tensors

__all__ = ["Checkpoint", "find_checkpoint", "make_discriminator", "make_generator"]

CHECKPOINT_SCHEMA = 2

AnyDiscriminator = PatchDiscriminator | ProjectedDiscriminator


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """The state of a run after a step.

    Attributes:
        config: the run's settings; they rebuild both networks.
        contract: how frames become the generator's input.
        generator: the generator's state dict, averaged if the run averages it; this is exported.
        frames: (N, H, W, 3) uint8 BGR, validation inputs for sample grids and parity checks.
        progress: ``step``, ``images_seen``, ``best_l1``, ``loss_sums`` by name of the loss ...
        dataset: the dataset's fingerprint and size.
        training: state dicts that only training needs (discriminator, Adam, random generators).
    """

    config: TrainConfig
    contract: PixelContract
    generator: dict[str, Any]
    frames: torch.Tensor
    progress: dict[str, Any]
    dataset: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint; the ``last.pt`` before it is kept as ``last.previous.pt``.

        Raises:
            OutputError: it cannot be written; what stood at ``path`` still does.
        """
        content = {one.name: getattr(self, one.name) for one in fields(self)}
        content |= {"config": self.config.to_json(), "contract": self.contract.to_json()}
        write_tensors(path, content, schema=CHECKPOINT_SCHEMA, keep_previous=path.name == "last.pt")

    def without_optimizers(self) -> Checkpoint:
        """Return what scoring, export, distillation and ``--from`` need: a third of the size."""
        kept = {"discriminator", "loss_networks"} & self.training.keys()
        return replace(self, training={name: self.training[name] for name in kept})

    @classmethod
    def load(cls, path: str | Path) -> Checkpoint:
        """Read and verify a checkpoint, onto the CPU, or raise a CheckpointError."""
        content = read_tensors(Path(path), schema=CHECKPOINT_SCHEMA)
        try:
            content = {one.name: content[one.name] for one in fields(cls)}
            content["config"] = TrainConfig.from_json(content["config"])
            content["contract"] = PixelContract.from_json(content["contract"])
        except (KeyError, ConfigError, ContractError) as error:
            raise CheckpointError(f"{path} is not a complete checkpoint: {error}") from error
        return cls(**content)

    def build_generator(self) -> UNetGenerator:
        """Return the generator that is exported: on the CPU, in eval mode.

        Raises:
            CheckpointError: the weights do not belong to the network that ``config`` describes.
        """
        generator = make_generator(self.config)
        load_weights(generator, self.generator, "generator")
        generator.zero_untrained_taps(*self.config.data.trained_size)
        return generator.eval()

    def build_discriminator(self) -> AnyDiscriminator | None:
        """Return the discriminator, on the CPU in eval mode; None if the run had none.

        Raises:
            CheckpointError: the weights do not belong to the network that ``config`` describes.
        """
        if "discriminator" not in self.training:
            return None
        discriminator = make_discriminator(self.config)
        load_weights(discriminator, self.training["discriminator"], "discriminator")
        return discriminator.eval()


def find_checkpoint(run_or_file: Path) -> Path:
    """Return a run's ``best`` checkpoint, else its ``last``; a file stands for itself, unread.

    Raises:
        CheckpointError: the run has none.
    """
    if not run_or_file.is_dir():
        return run_or_file
    for name in ("best.pt", "last.pt"):
        for path in (run_or_file / "checkpoints" / name, run_or_file / name):
            if path.is_file():
                return path
    raise CheckpointError(f"{run_or_file} holds no checkpoints/best.pt or last.pt; train it first")


def make_generator(config: TrainConfig) -> UNetGenerator:
    """Build the generator that ``config`` describes, with fresh weights."""
    model = config.model
    return UNetGenerator(
        ngf=model.ngf,
        downsamplings=config.downsamplings,
        norm=model.norm,
        dropout=model.dropout,
    )


def make_discriminator(config: TrainConfig) -> AnyDiscriminator:
    """Build the discriminator that ``config`` describes, with fresh weights.

    Raises:
        MissingExtraError: it needs ImageNet weights, and they are not installed.
    """
    model = config.model
    if model.discriminator == "projected":
        return ProjectedDiscriminator(ndf=model.ndf)
    return PatchDiscriminator(ndf=model.ndf, norm=model.norm)
