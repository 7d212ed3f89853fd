"""From flags to a run: new or resumed, where its results go, and what is printed about it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_train.config import RECIPES, TrainConfig
from p2p_train.data.prepare import prepare_data
from p2p_train.devices import find_device
from p2p_train.precision import choose_precision
from p2p_train.segmentation import Segmenter

from .checkpoint import Checkpoint, generator_in_words
from .loop import Machine, train

__all__ = ["LaunchOptions", "launch"]

logger = logging.getLogger(__name__)

RUNS = Path("runs")
CHANGEABLE = {"epochs", "max_steps", "samples", "data", "teacher", "eyes", "reader"}
"""Settings that a resumed run may change without becoming another run: how long it is, and where
things lie. That they are the same things is checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """What the user asked for.

    Attributes:
        settings: values for :class:`TrainConfig`, defaults included.
        given: the names of those that the user typed.
        recipe: name of the bundle whose settings replace the defaults.
        run_dir, device, workers, compile, recompute, sync_batchnorm, halve_micro_batch, resume,
            dry_run, judge, tensorboard: as the flags of ``p2p-train``.
    """

    settings: dict[str, Any]
    given: frozenset[str]
    recipe: str
    run_dir: Path | None
    device: str
    workers: int | None
    compile: bool
    recompute: bool
    sync_batchnorm: bool
    halve_micro_batch: bool
    resume: str | None
    dry_run: bool
    judge: Path | None = None
    tensorboard: bool = False


def launch(wish: LaunchOptions) -> int:
    """Start or resume a run and return the exit code: 0, or 130 / 143 after a signal.

    Raises:
        P2PError: whatever is wrong with settings, data, device, checkpoint or disk.
    """
    device = find_device(wish.device)
    if wish.sync_batchnorm and device.type != "cuda":
        raise ConfigError("--sync-batchnorm works on GPUs only; on the CPU use --norm instance")
    if wish.resume is None:
        config, run_dir, checkpoint = _new_run(wish, device)
    else:
        config, run_dir, checkpoint = _resumed_run(wish)
    if wish.dry_run:
        _report_dry_run(config, run_dir, device)
        return 0
    machine = Machine(
        device=device,
        workers=_default_workers(device) if wish.workers is None else wish.workers,
        compile=wish.compile,
        recompute=wish.recompute,
        sync_batchnorm=wish.sync_batchnorm,
        halve_micro_batch=wish.halve_micro_batch,
    )
    finish = train(
        config,
        run_dir=run_dir,
        machine=machine,
        resume_from=checkpoint,
        judge=None if wish.judge is None else Segmenter.load(wish.judge, device),
        tensorboard=wish.tensorboard,
    )
    if not finish.is_first:
        return finish.exit_code
    if finish.exit_code:
        logger.warning("stopped by a signal at step %d, saved", finish.step)
        click.echo(f"go on with: p2p-train --resume {run_dir}")
    else:
        click.echo(
            f"{finish.step} steps done, best validation L1 {finish.best_l1:.4f}\n"
            f"samples: {run_dir / 'samples' / 'latest.png'}\n"
            f"curves:  {run_dir / 'curves.png'}\n"
            f"next:    p2p-export {run_dir}"
        )
    return finish.exit_code


def _new_run(wish: LaunchOptions, device: torch.device) -> tuple[TrainConfig, Path, None]:
    bundle = {name: value for name, value in RECIPES[wish.recipe].items() if name not in wish.given}
    settings = {**wish.settings, **bundle}
    settings["precision"] = choose_precision(settings["precision"], device)
    config = TrainConfig(**settings)
    run_dir = wish.run_dir or _free_run_dir(Path(config.data))
    if (run_dir / "checkpoints" / "last.pt").exists():
        raise ConfigError(
            f"{run_dir} holds a run already; go on with --resume {run_dir}, "
            "or choose another --run-dir"
        )
    return config, run_dir, None


def _free_run_dir(data: Path) -> Path:
    name = data.resolve().name or "run"
    number = 1
    while (RUNS / f"{name}-{number}").exists():
        number += 1
    return RUNS / f"{name}-{number}"


def _resumed_run(wish: LaunchOptions) -> tuple[TrainConfig, Path, Checkpoint]:
    last = _find_last(wish)
    checkpoint = _load_or_previous(last)
    settings = checkpoint.config.to_json()
    changed = {
        name: value
        for name, value in wish.settings.items()
        if name in wish.given and value != settings[name]
    }
    if changed.get("precision") == "auto":
        del changed["precision"]  # it was chosen when the run began
    refused = [
        f"{name.replace('_', '-')} {settings[name]} -> {changed[name]}"
        for name in sorted(changed.keys() - CHANGEABLE)
    ]
    if refused:
        raise ConfigError(
            f"a resumed run keeps its settings; {last} was made with others: {', '.join(refused)}"
        )
    run_dir = wish.run_dir or last.parent.parent
    return TrainConfig.from_json({**settings, **changed}), run_dir, checkpoint


def _find_last(wish: LaunchOptions) -> Path:
    if wish.resume != "auto":
        path = Path(str(wish.resume))
        return path / "checkpoints" / "last.pt" if path.is_dir() else path
    if wish.run_dir is not None:
        return wish.run_dir / "checkpoints" / "last.pt"
    found = sorted(RUNS.glob("*/checkpoints/last.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(f"no run to resume under {RUNS}/; name one: --resume RUN")
    return found[-1]


def _load_or_previous(path: Path) -> Checkpoint:
    """Load a checkpoint, or the one before it when this one is damaged, and say so."""
    previous = path.with_suffix(".previous.pt")
    try:
        return Checkpoint.load(path)
    except CheckpointError as error:
        if not (path.name == "last.pt" and previous.exists()):
            raise
        logger.warning("%s; going on from the checkpoint before it, %s", error, previous)
    return Checkpoint.load(previous)


def _default_workers(device: torch.device) -> int:
    """Feed a GPU with up to 8 decoders; on a CPU, decoding between the steps takes less time."""
    return min(8, os.cpu_count() or 1) if device.type == "cuda" else 0


def _report_dry_run(config: TrainConfig, run_dir: Path, device: torch.device) -> None:
    data = prepare_data(config)
    click.echo(json.dumps(config.to_json(), indent=2))
    click.echo(
        f"{len(data.train)} training and {len(data.val)} validation pairs; {data.palette_note}\n"
        f"{generator_in_words(config)}\n"
        f"would train on {device} and write to {run_dir}"
    )
