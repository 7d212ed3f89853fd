"""A run that goes on until it is killed; tests start it in a process of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from p2p_train.config import TrainConfig
from p2p_train.training import loop
from p2p_train.training.checkpoint import Checkpoint
from p2p_train.training.recorder import RunLog


def go_on(config: TrainConfig, run_dir: Path) -> None:
    """Resume a run and save after every step."""
    torch.set_num_threads(1)
    loop.SAVE_EVERY_S = 0.0
    RunLog.add = lambda *anything: None  # type: ignore[method-assign]  # faster epochs
    loop.train(
        config,
        run_dir=run_dir,
        machine=loop.Machine(device=torch.device("cpu")),
        resume_from=Checkpoint.load(run_dir / "checkpoints" / "last.pt"),
    )
