"""A generator too small to learn anything, with statistics as if it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from p2p_runtime.labels.palette import CAMVID
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_train.config import TrainConfig
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.pixels import to_signal
from p2p_train.training.checkpoint import Checkpoint, make_generator

CONTRACT = PixelContract(height=64, width=64, palette=CAMVID)


def toy_frames(contract: PixelContract = CONTRACT, count: int = 8, first: int = 100) -> np.ndarray:
    """Draw label maps, (count, H, W, 3) uint8 BGR, no two alike."""
    seeds = range(first, first + count)
    return np.stack([GoldenFrame.draw(contract, seed) for seed in seeds])


def toy_config(**changes: Any) -> TrainConfig:
    """Return settings of a generator with four channels, 64x64."""
    return TrainConfig.of(**{"ngf": 4, "ndf": 4, "image_size": (64, 64), **changes})


def toy_generator(config: TrainConfig | None = None, seed: int = 0) -> UNetGenerator:
    """Build a generator whose norms have statistics, gains and offsets that folding must honour.

    The statistics are those of real activations, as after training, then disturbed.
    """
    config = toy_config() if config is None else config
    torch.manual_seed(seed)
    generator = make_generator(config)
    contract = PixelContract(height=config.data.height, width=config.data.width, palette=CAMVID)
    norms = [norm for norm in generator.modules() if isinstance(norm, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        generator.train()(to_signal(torch.from_numpy(toy_frames(contract))))
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.5, 2.0)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.3, 0.3)
        generator.output[0].weight *= 3  # outputs with contrast
        generator.output[0].bias.copy_(torch.tensor([0.3, 0.0, -0.3]))  # no two channels alike
    return generator


def write_checkpoint(
    path: Path,
    *,
    config: TrainConfig | None = None,
    generator: UNetGenerator | None = None,
    frames: int = 8,
) -> Path:
    """Write a checkpoint as p2p-train does and return its path."""
    config = toy_config() if config is None else config
    contract = PixelContract(height=config.data.height, width=config.data.width, palette=CAMVID)
    path.parent.mkdir(parents=True, exist_ok=True)
    Checkpoint(
        config=config,
        contract=contract,
        generator=(generator or toy_generator(config)).state_dict(),
        frames=torch.from_numpy(toy_frames(contract, frames)),
        progress={"step": 3, "images_seen": 24, "best_l1": 0.5},
        dataset={"fingerprint": "f" * 64, "train_pairs": 8},
    ).save(path)
    return path
