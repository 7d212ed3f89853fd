"""A trained generator, ready for export, whichever project it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_runtime import __version__
from p2p_runtime.files import sha256_of_file
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig
from p2p_train.training.checkpoint import Checkpoint

__all__ = ["TrainedGenerator", "load_checkpoint", "origin_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedGenerator:
    """A generator and all that an export needs to know about it.

    Attributes:
        module: (N, 3, H, W) RGB signal in [-1, 1] to the same, in ``eval`` mode.
        contract: how frames become its input.
        data: how folders of inputs are read, and where the run's own data lie.
        frames: (N, H, W, 3) uint8 BGR, default inputs of the parity check; N may be 0.
        description: architecture, for people and tools; ``mode`` says which function is exported.
        provenance: where the weights come from.
    """

    module: nn.Module
    contract: PixelContract
    data: DataConfig
    frames: NDArray[np.uint8]
    description: dict[str, Any]
    provenance: dict[str, Any]


def load_checkpoint(path: Path) -> TrainedGenerator:
    """Load a checkpoint of ``p2p-train``.

    Raises:
        CheckpointError: it is missing, broken, unsafe, or of another schema.
    """
    checkpoint = Checkpoint.load(path)
    config = checkpoint.config
    return TrainedGenerator(
        module=checkpoint.build_generator(),
        contract=checkpoint.contract,
        data=config.data,
        frames=checkpoint.frames.numpy(),
        description={
            "architecture": "unet",
            "ngf": config.model.ngf,
            "downsamplings": config.downsamplings,
            "max_width": config.model.max_width,
            "norm": config.model.norm,
            "mode": "eval: running statistics, no dropout",
        },
        provenance={
            **origin_of(path),
            "dataset_fingerprint": checkpoint.dataset.get("fingerprint"),
            "images_seen": checkpoint.progress.get("images_seen"),
        },
    )


def origin_of(path: Path) -> dict[str, Any]:
    """Return the provenance that every checkpoint file has: its SHA-256 and the tool versions."""
    return {
        "checkpoint_sha256": sha256_of_file(path),
        "tools": {
            "pix2pix-edge": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
        },
    }
