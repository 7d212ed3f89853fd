"""Checkpoints: everything a run needs to go on, in one file that executes nothing.

A checkpoint holds tensors and primitives only and is read with ``weights_only=True``. It carries
a digest of its own content, since torch reads flipped bits without complaint.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from p2p_runtime.contract import PixelContract
from p2p_runtime.errors import CheckpointError, ConfigError, ContractError
from p2p_runtime.files import atomic_file

from .config import TrainConfig
from .networks import UNetGenerator

__all__ = ["Checkpoint", "load_weights", "make_generator"]

CHECKPOINT_SCHEMA = 1
State = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """The state of a run after a step.

    Attributes:
        config: the run's settings; they rebuild both networks.
        contract: how frames become the generator's input.
        generator: the generator's state dict; what export ships.
        frames: (N, H, W, 3) uint8 BGR, validation inputs for sample grids and parity checks.
        progress: ``step``, ``epoch``, ``step_in_epoch``, ``images_seen``, ``best_l1`` ...
        dataset: the dataset's fingerprint and size.
        training: state dicts that only training needs (discriminator, Adam, random generators).
    """

    config: TrainConfig
    contract: PixelContract
    generator: State
    frames: torch.Tensor
    progress: dict[str, Any]
    dataset: dict[str, Any]
    training: State = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint; the one before it is kept as ``<name>.previous.pt``.

        Raises:
            OutputError: it cannot be written; what stood at ``path`` still does.
        """
        content = {
            "schema": CHECKPOINT_SCHEMA,
            "config": self.config.to_json(),
            "contract": self.contract.to_json(),
            "generator": self.generator,
            "frames": self.frames,
            "progress": self.progress,
            "dataset": self.dataset,
            "training": self.training,
        }
        content["sha256"] = _digest(content)
        with atomic_file(path) as file:
            torch.save(content, file)
            if path.exists():
                _keep_previous(path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read and verify a checkpoint, onto the CPU.

        Raises:
            CheckpointError: it is missing, broken, altered, unsafe, or of another schema.
        """
        content = _read(path)
        if content.get("schema") != CHECKPOINT_SCHEMA:
            raise CheckpointError(
                f"{path} has checkpoint schema {content.get('schema')!r}; "
                f"this version reads {CHECKPOINT_SCHEMA}"
            )
        expected = content.pop("sha256", None)
        if _digest(content) != expected:
            raise CheckpointError(f"{path} is damaged: its content does not match its sha256")
        try:
            return cls(
                config=TrainConfig.from_json(content["config"]),
                contract=PixelContract.from_json(content["contract"]),
                **{name: content[name] for name in _STATES},
            )
        except (KeyError, ConfigError, ContractError) as error:
            raise CheckpointError(f"{path} is not a complete checkpoint: {error}") from error


_STATES = ("generator", "frames", "progress", "dataset", "training")


def make_generator(config: TrainConfig) -> UNetGenerator:
    """Build the generator that ``config`` describes, with fresh weights."""
    return UNetGenerator(
        ngf=config.ngf,
        downsamplings=config.downsamplings,
        norm=config.norm,
        dropout=config.dropout,
    )


def load_weights(module: nn.Module, state: State, what: str) -> None:
    """Load a state dict, strictly.

    Raises:
        CheckpointError: names or shapes differ; the message lists the first differences.
    """
    own = module.state_dict()
    differences = [f"{key} is missing" for key in own if key not in state]
    differences += [f"{key} is unknown" for key in state if key not in own]
    differences += [
        f"{key} has shape {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    if differences:
        shown = "; ".join(differences[:3])
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CheckpointError(f"the {what} does not fit the checkpoint: {shown}{more}")
    module.load_state_dict(state)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist or is not a file")
    if not zipfile.is_zipfile(path):  # torch would try its old formats, bare pickles among them
        raise CheckpointError(
            f"{path} is not a whole checkpoint file: empty, cut short, or something else; "
            "nothing in it was executed"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a safe checkpoint: it holds more than tensors and primitives; "
            "nothing in it was executed"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a checkpoint of p2p-train")
    return content


def _keep_previous(path: Path) -> None:
    previous = path.with_suffix(".previous.pt")
    previous.unlink(missing_ok=True)
    try:
        previous.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, previous)


def _digest(content: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, content)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Hash tensors by bytes and containers in order, each with its type and length."""
    if isinstance(value, torch.Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)}".encode())
        for key, item in value.items():
            _feed(digest, key)
            _feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, float):
        digest.update(b"float" + struct.pack("<d", value))
    else:
        digest.update(f"{type(value).__name__} {value!r}".encode())
