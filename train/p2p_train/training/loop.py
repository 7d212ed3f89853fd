"""The training loop: the whole story of a run, from the first step to the last checkpoint."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_runtime.errors import ConfigError, TrainingError
from p2p_runtime.files import check_writable_folder, exclusive_lock, write_json
from p2p_runtime.interrupts import StopRequest
from p2p_train.config import TrainConfig
from p2p_train.data.batches import EpochSampler, named_worker_failures, training_batches
from p2p_train.data.prepare import TrainingData, check_same_data, prepare_data
from p2p_train.devices import describe_device
from p2p_train.distillation import load_teacher
from p2p_train.segmentation.semantic import load_semantic_loss

from .checkpoint import Checkpoint, generator_in_words
from .distributed import Distributed, join_distributed
from .progress import TrainProgress
from .recorder import Recorder, losses_in_words, not_a_number
from .runlog import RunLog
from .state import TrainState
from .step import train_step

if TYPE_CHECKING:
    from p2p_train.segmentation import Segmenter

__all__ = ["Finish", "Machine", "train"]

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""How often the losses are read from the device, which has to wait for that."""

SAVE_EVERY_S = 300.0
"""A run that is killed loses no more than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What to train with, apart from the recipe.

    Attributes:
        device: where the networks live.
        workers: processes that decode images ahead; 0 decodes in the training process.
        compile: let torch.compile fuse the networks; the first steps then take a minute.
        recompute: save memory by computing the generator's activations twice.
        sync_batchnorm: with several GPUs, let BatchNorm see the whole batch.
        halve_micro_batch: when memory runs out, go on with micro-batches of half the size. Like
            the one before, it changes BatchNorm's statistics; the others change rounding at most.
    """

    device: torch.device
    workers: int = 0
    compile: bool = False
    recompute: bool = False
    sync_batchnorm: bool = False
    halve_micro_batch: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """How a run ended.

    Attributes:
        step: steps done.
        exit_code: 0, or 130 / 143 when a signal stopped it.
        best_l1: validation L1 of the best weights, in [-1, 1] signal units; known to the first
            process.
        is_first: whether this process is the one that reports.
    """

    step: int
    exit_code: int
    best_l1: float
    is_first: bool = True


def train(
    config: TrainConfig,
    *,
    run_dir: Path,
    machine: Machine,
    resume_from: Checkpoint | None = None,
    judge: Segmenter | None = None,
    tensorboard: bool = False,
) -> Finish:
    """Train until the epochs or steps of ``config`` are done, or a signal comes.

    Writes ``config.json``, ``log.jsonl``, ``curves.png``, ``samples/`` and
    ``checkpoints/{last,best}.pt`` under ``run_dir``.

    Args:
        config: what to train on and how.
        run_dir: where the results go; created if needed, locked while training.
        machine: what to train with.
        resume_from: go on from here, bit for bit as if there had been no stop (on the CPU).
        judge: measures label fidelity after each epoch.
        tensorboard: write the log to ``run_dir/tensorboard`` too.

    Raises:
        DatasetError: the pairs are missing or broken.
        CheckpointError: ``resume_from`` belongs to other networks, other pairs or another teacher;
            or the teacher cannot be read.
        TrainingError: a loss or a weight is not a number any more, or a worker was killed.
        OutputError: a result cannot be written, or another run holds ``run_dir``.
        ConfigError: the judge knows other labels, or the teacher reads other inputs.
    """
    with contextlib.ExitStack() as stack:
        # Who trains, on what, and where it goes
        team = stack.enter_context(join_distributed(machine.device))
        check_writable_folder(run_dir, create=False)
        data = prepare_data(config)
        if team.is_first:
            check_writable_folder(run_dir / "checkpoints")
            busy = f"another p2p-train is writing to {run_dir}; choose another --run-dir"
            stack.enter_context(exclusive_lock(run_dir / ".lock", busy))

        # The players
        if judge is not None:
            judge.check_labels(data.contract)
        teacher = load_teacher(config, data.contract, machine.device)
        reader = load_semantic_loss(config, data.contract, machine.device)
        state = TrainState(config, machine.device, team, teacher, reader)
        if resume_from is not None:
            check_same_data(resume_from, data)
            state.restore(resume_from)
        log = RunLog(run_dir, state.step, tensorboard=tensorboard and team.is_first)
        stack.callback(log.close)
        recorder = Recorder(run_dir, data, state, log, judge)

        # The plan
        sampler = _sampler(config, len(data.train), state.step, team)
        per_epoch, total = sampler.steps_per_epoch, state.step + len(sampler)
        on_gpu = machine.device.type == "cuda"
        batches = training_batches(data.train, sampler, workers=machine.workers, pin_memory=on_gpu)
        state.generator.recompute = machine.recompute
        if machine.sync_batchnorm:
            state.synchronise_norms()
        if machine.compile:
            state.compile()
        if team.is_first:
            write_json(run_dir / "config.json", config.to_json())
            _announce(data, state, total)
        stack.enter_context(named_worker_failures())
        stop = stack.enter_context(StopRequest())
        progress = stack.enter_context(
            TrainProgress(
                total_steps=total,
                first_step=state.step,
                batch_size=recorder.batch_size,
                silent=not team.is_first,
            )
        )
        tick_s = saved_s = time.monotonic()

        for batch in batches:
            # Every iteration
            state.begin_step(total)
            losses = train_step(
                state, batch.to(machine.device), halve_on_out_of_memory=machine.halve_micro_batch
            )
            state.count(losses)
            stopping = team.any(stop.requested)
            epoch_ends = state.step % per_epoch == 0
            finished = state.step == total

            # The tick
            if epoch_ends or finished or stopping or time.monotonic() - tick_s >= TICK_S:
                means = _read_losses(state)
                progress.show(state.step, state.step / per_epoch, losses_in_words(means))
                tick_s = time.monotonic()

            # Measuring and keeping
            overdue = team.any(time.monotonic() - saved_s >= SAVE_EVERY_S)
            if epoch_ends or finished or stopping or overdue:
                progress.pause()
                state.collect_randomness()
                if team.is_first and (epoch_ends or finished):
                    recorder.measure(
                        means, epoch=state.step / per_epoch, images_per_s=progress.speed()
                    )
                if team.is_first:
                    recorder.save()
                progress.resume()
                saved_s = time.monotonic()
            if stopping:
                break
        return Finish(
            step=state.step,
            exit_code=stop.exit_code,
            best_l1=state.best_l1,
            is_first=team.is_first,
        )


def _sampler(config: TrainConfig, pairs: int, first_step: int, team: Distributed) -> EpochSampler:
    if min(config.batch_size, pairs) % team.size:
        raise ConfigError(
            f"batch-size {min(config.batch_size, pairs)} cannot be shared by {team.size} processes"
        )
    per_epoch = pairs // min(config.batch_size, pairs)
    total = config.epochs * per_epoch
    if config.max_steps is not None:
        total = min(total, config.max_steps)
    return EpochSampler(
        pairs=pairs,
        batch_size=config.batch_size,
        seed=config.seed,
        first_step=first_step,
        last_step=max(total, first_step),
        rank=team.rank,
        world_size=team.size,
    )


def _announce(data: TrainingData, state: TrainState, total: int) -> None:
    logger.info(
        "%d training and %d validation pairs; %s", len(data.train), len(data.val), data.palette_note
    )
    logger.info(generator_in_words(state.config))
    logger.info(
        "training on %s in %s, steps %d to %d",
        describe_device(state.device),
        state.config.precision,
        state.step,
        total,
    )


def _read_losses(state: TrainState) -> dict[str, float]:
    """Return the mean losses since the last log line; this waits for the device."""
    losses = state.mean_losses()
    if not all(map(math.isfinite, losses.values())):
        raise TrainingError(not_a_number(state.step, "a loss"))
    if min(state.loss_scales()) < 1:
        raise TrainingError(not_a_number(state.step, "every fp16 gradient"))
    return losses
