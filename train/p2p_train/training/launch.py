"""From options to a run: new or resumed, where its results go, and what is printed about it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from p2p_runtime.documents import read_json
from p2p_runtime.errors import CheckpointError, ConfigError, ContractError
from p2p_runtime.files import check_writable_folder
from p2p_train.config import TrainConfig
from p2p_train.data.prepare import TrainingData, prepare_data
from p2p_train.devices import choose_precision
from p2p_train.metrics.page import is_free
from p2p_train.recipes import RECIPES
from p2p_train.segmentation.segmenter import Segmenter

from .checkpoint import Checkpoint, find_checkpoint
from .estimate import AUTO_TIME_S, fit_auto, fit_batch, time_steps
from .loop import RUNS, Finish, Machine, describe_run, new_run_dir, train
from .loss_networks import load_loss_networks
from .page import KIND
from .state import TrainState

__all__ = ["LaunchOptions", "launch"]

logger = logging.getLogger(__name__)

MAX_EPOCHS = 10**6

CHANGEABLE = {"epochs", "max_steps", "samples", "data", "teacher", "segmenter"}
"""Settings that a resumed run may change without becoming another run: how long it is, and where
files lie. That they are the same files is checked."""


OWN = {
    "checkpoints", "config.json", "curves.png", "export", "index.html", "inspect.png",
    "log-damaged.txt", "log.jsonl", "results", "samples", "tensorboard",
}  # fmt: skip
"""What lies in a run directory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """What the user asked for: the flags of ``p2p-train``, and the settings among them."""

    settings: dict[str, Any]
    machine: Machine
    recipe: str | None
    config: Path | None
    run_dir: Path | None
    resume: str | None
    start_from: Path | None
    dry_run: bool
    eval_segmenter: Path | None
    tensorboard: bool
    budget_s: float | None = None


def launch(options: LaunchOptions) -> int:
    """Start or resume a run and return the exit code: 0, or 130 / 143 after a signal.

    Raises:
        P2PError: whatever is wrong with settings, data, device, checkpoint or disk.
    """
    machine = options.machine
    if options.resume is not None and options.start_from is not None:
        raise ConfigError("--resume continues a run and --from begins a new one; give one of them")
    budget_s, checkpoint, data = options.budget_s, None, None
    if options.resume is not None:
        config, run_dir, checkpoint = _resumed_run(options)
    else:
        config, run_dir = _new_run(options)
        check_writable_folder(run_dir, create=False)
        data = prepare_data(config)
        config = _fit(config, options, data)
        if options.recipe == "auto" and budget_s is None:
            budget_s = AUTO_TIME_S
    if options.dry_run:
        data = data or prepare_data(config)
        losses = load_loss_networks(config, data.contract, machine.device, data.val.label_palette)
        state = TrainState(config, machine.device, None, *losses, grey=data.contract.grey)
        estimate = time_steps(data, state, halve=machine.halve_micro_batch)
        config = estimate.fit(config, budget_s)
        first_step = checkpoint.progress["step"] if checkpoint else 0
        lines = [*describe_run(config, data), estimate.describe(config, first_step)]
        click.echo(json.dumps(config.to_json(), indent=2))
        click.echo("\n".join([*lines, f"would train on {machine.device} and write to {run_dir}"]))
        return 0
    segmenter = options.eval_segmenter
    finish = train(
        config,
        run_dir=run_dir,
        machine=machine,
        resume_from=checkpoint,
        start_from=None if options.start_from is None else _weights(options.start_from),
        eval_segmenter=None if segmenter is None else Segmenter.load(segmenter, machine.device),
        tensorboard=options.tensorboard,
        budget_s=budget_s,
        data=data,
    )
    if finish.is_first:
        _report(finish)
    return finish.exit_code


def _fit(config: TrainConfig, options: LaunchOptions, data: TrainingData) -> TrainConfig:
    """Choose what depends on the pairs and the machine, where the user typed nothing."""
    if options.recipe == "auto":
        chosen = fit_auto(data, options.machine.device)
        typed = {k: v for k, v in options.settings.items() if k in chosen}
        config = config.replace(**{**chosen, **typed})
    if "batch_size" in options.settings:
        return config
    return fit_batch(config, len(data.train), int(os.environ.get("WORLD_SIZE", "1")))


def _new_run(options: LaunchOptions) -> tuple[TrainConfig, Path]:
    base = _base_settings(options)
    if options.budget_s is not None and options.recipe != "auto":
        base = {**base, "epochs": MAX_EPOCHS}  # the time is the end
    config = TrainConfig.of(**{**base, **options.settings})
    if config.optim.precision == "auto":  # decided once, whatever the device of a later resume
        config = config.replace(precision=choose_precision("auto", options.machine.device))
    run_dir = options.run_dir or new_run_dir(config)
    if (run_dir / "checkpoints" / "last.pt").exists():
        raise ConfigError(
            f"{run_dir} holds a run already; go on with --resume {run_dir}, "
            "or choose another --run-dir"
        )
    _check_run_dir(run_dir)
    return config, run_dir


def _check_run_dir(run_dir: Path) -> None:
    """Refuse a folder with files that are not of a run, which a run would replace."""
    if not run_dir.is_dir():
        return
    names = {path.name for path in run_dir.iterdir() if not path.name.startswith(".")}
    strange = sorted(names - OWN)
    if not is_free(run_dir / "index.html", KIND):
        strange.append("index.html")
    if not strange and "config.json" in names:
        try:
            TrainConfig.from_json(read_json(run_dir / "config.json"))
        except (ConfigError, ContractError):
            strange = ["config.json"]
    if strange:
        shown = ", ".join(strange[:3]) + (" ..." if len(strange) > 3 else "")
        raise ConfigError(
            f"{run_dir} holds files that are not of a run ({shown}); choose another --run-dir"
        )


def _weights(run_or_file: Path) -> Checkpoint:
    path = find_checkpoint(run_or_file)
    logger.info("starting with the weights of %s", path)
    return Checkpoint.load(path)


def _base_settings(options: LaunchOptions) -> dict[str, Any]:
    """Return the settings that stand where the user gave none."""
    if options.config is None:
        return RECIPES[options.recipe or "classic"]
    if options.recipe is not None:
        raise ConfigError("--config and --recipe both replace the defaults; give one of them")
    try:
        document = read_json(options.config)
    except ContractError as error:
        raise ConfigError(f"--config {options.config} cannot be read: {error}") from error
    return TrainConfig.from_json(document).flat()


def _resumed_run(options: LaunchOptions) -> tuple[TrainConfig, Path, Checkpoint]:
    if options.budget_s is not None:
        raise ConfigError(
            "--time belongs to a new run; a resumed one takes --max-steps or --epochs"
        )
    if options.config is not None or options.recipe is not None:
        raise ConfigError(
            "a resumed run keeps its settings; leave --config and --recipe out, or begin a new run "
            "with its weights: --from RUN"
        )
    last = _find_last(options)
    checkpoint = _load_or_previous(last)
    _check_latest(last, checkpoint)
    settings = checkpoint.config.flat()
    changed = {k: v for k, v in options.settings.items() if v != settings[k]}
    if changed.get("precision") == "auto":
        del changed["precision"]  # it was chosen when the run began
    refused = sorted(changed.keys() - CHANGEABLE)
    if refused:
        differences = (f"{k.replace('_', '-')} {settings[k]} -> {changed[k]}" for k in refused)
        export = ", or export it at that size with p2p-export --size" * ("image_size" in refused)
        raise ConfigError(
            f"a resumed run keeps its settings; {last} was made with others: "
            + ", ".join(differences)
            + f"; for a new run with its weights, --from {last}{export}"
        )
    run_dir = options.run_dir or last.parent.parent
    return checkpoint.config.replace(**changed), run_dir, checkpoint


def _check_latest(path: Path, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose run went on, since its later steps would be lost."""
    last = path.with_name("last.pt")
    if path.name == last.name or not last.is_file():
        return
    step, later = checkpoint.progress["step"], Checkpoint.load(last).progress["step"]
    if later > step:
        raise ConfigError(
            f"{path} is of step {step}, and {last} of step {later} would be lost; "
            f"go on with --resume {last}, or begin a new run with --from {path}"
        )


def _find_last(options: LaunchOptions) -> Path:
    if options.resume != "auto":
        path = Path(str(options.resume))
        return path / "checkpoints" / "last.pt" if path.is_dir() else path
    if options.run_dir is not None:
        return options.run_dir / "checkpoints" / "last.pt"
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


def _report(finish: Finish) -> None:
    run_dir = finish.run_dir
    if finish.exit_code:
        logger.warning("stopped by a signal at step %d, saved", finish.step)
        click.echo(f"go on with: p2p-train --resume {run_dir}")
        return
    if finish.doubt is not None:
        click.echo(f"look before you export: {finish.doubt}")
    click.echo(
        f"{finish.step} steps done\n"
        f"samples and curves: {run_dir / 'index.html'}\n"
        f"next: p2p-export {run_dir}"
    )
