"""The training loop: the whole story of a run, from the first step to the last checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from p2p_runtime.cpus import usable_cpus
from p2p_runtime.errors import ConfigError
from p2p_runtime.files import check_writable_folder, exclusive_lock, write_json
from p2p_runtime.interrupts import StopRequest
from p2p_train.config import TrainConfig
from p2p_train.data.batches import EpochSampler, named_worker_failures, training_batches
from p2p_train.data.prepare import TrainingData, check_same_data, prepare_data
from p2p_train.devices import choose_precision, describe_device, find_device
from p2p_train.networks.geometry import unet_macs
from p2p_train.segmentation.segmenter import Segmenter

from .checkpoint import Checkpoint, make_generator
from .distributed import Distributed, join_distributed
from .estimate import Estimate, round_steps, time_steps, total_steps
from .loss_networks import load_loss_networks
from .page import RunPage
from .progress import TrainProgress
from .recorder import Recorder
from .state import TrainState
from .step import train_step

__all__ = ["RUNS", "Finish", "Machine", "describe_run", "new_run_dir", "train"]

logger = logging.getLogger(__name__)

RUNS = Path("runs")
"""Folder of the runs whose directory is not named."""

TICK_S = 1.0
"""Interval at which the losses are read from the device, which has to wait for that."""

SAVE_EVERY_S = 300.0
"""Maximum time between two checkpoints; a run that is killed loses no more."""

STOPPING = "\nstopping after this step, then saving\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What to train with; it changes results by rounding alone, but where noted.

    Attributes:
        device: of the networks, also as a name; the default is a GPU if there is one, else the CPU.
        workers: processes that decode images ahead; 0 decodes in the training process; None for
            up to 8 beside a GPU and 0 on a CPU, where decoding between the steps takes less time.
        recompute: save memory by computing the generator's activations twice.
        halve_micro_batch: when memory runs out, go on with micro-batches of half the size; this
            changes BatchNorm's statistics.
    """

    device: torch.device = field(default_factory=lambda: find_device("auto"))
    workers: int | None = None
    recompute: bool = False
    halve_micro_batch: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.device, str):  # from Python it is often a name
            object.__setattr__(self, "device", find_device(self.device))

    def decoders(self) -> int:
        """Return the number of processes that decode images."""
        if self.workers is not None:
            return self.workers
        return min(8, usable_cpus()) if self.device.type == "cuda" else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """How a run ended.

    Attributes:
        run_dir: where the results are.
        step: steps done.
        exit_code: 0, or 130 / 143 when a signal stopped it.
        best_l1: least validation L1, in [-1, 1] signal units; of the first process.
        is_first: whether this process is the one that reports.
        doubt: why it seems to have learned nothing; None if it does not.
    """

    run_dir: Path
    step: int
    exit_code: int
    best_l1: float
    is_first: bool = True
    doubt: str | None = None


def train(
    config: TrainConfig,
    *,
    run_dir: str | Path | None = None,
    machine: Machine | None = None,
    resume_from: Checkpoint | None = None,
    start_from: Checkpoint | None = None,
    eval_segmenter: Segmenter | None = None,
    tensorboard: bool = False,
    budget_s: float | None = None,
    data: TrainingData | None = None,
) -> Finish:
    """Train until the epochs or steps of ``config`` are done, or a signal comes.

    Writes ``index.html``, ``config.json``, ``log.jsonl``, ``curves.png``, ``samples/`` and
    ``checkpoints/{last,best}.pt`` under ``run_dir``.

    Args:
        config: what to train on and how.
        run_dir: where the results go; created if needed, locked while training. None for the next
            free ``runs/<data>-<n>``.
        machine: what to train with; None for the defaults of :class:`Machine`.
        resume_from: go on from here, bit for bit as if there had been no stop (on the CPU).
        start_from: begin with these weights, and with new optimisers; of a run of other pairs,
            rates or losses, but with the same generator.
        eval_segmenter: computes the segmentation score after each epoch.
        tensorboard: write the log to ``run_dir/tensorboard`` too.
        budget_s: time of a new run, from which the number of its steps is fixed, see
            :meth:`.Estimate.fit`; None for all steps of ``config``.
        data: the pairs, if they are prepared already.

    Raises:
        DatasetError: the pairs are missing or broken.
        CheckpointError: ``resume_from`` belongs to other networks, pairs, teacher or segmenter; or
            one of these files cannot be read.
        TrainingError: a loss or a weight is not a number any more, or a worker was killed.
        OutputError: a result cannot be written, or another run holds ``run_dir``.
        ConfigError: a teacher or segmenter was trained on other inputs.
    """
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"{config!r} is no TrainConfig; give TrainConfig.of(data='photos')")
    machine, run_dir = machine or Machine(), Path(run_dir or new_run_dir(config))
    device = machine.device
    config = config.replace(precision=choose_precision(config.optim.precision, device))
    with contextlib.ExitStack() as stack:
        # Processes, data and run directory
        distributed = stack.enter_context(join_distributed(device))
        is_first = distributed.rank == 0
        check_writable_folder(run_dir, create=False)
        data = data or prepare_data(config)
        if is_first:
            check_writable_folder(run_dir / "checkpoints")
            busy = f"another p2p-train is writing to {run_dir}; choose another --run-dir"
            stack.enter_context(exclusive_lock(run_dir / ".lock", busy))
            for unfinished in (run_dir / "checkpoints").glob(".p2p-*.tmp"):
                unfinished.unlink()  # of a run that was killed while it wrote

        # Networks, losses and optimisers
        label_palette = data.val.label_palette
        teacher, segmenter = load_loss_networks(config, data.contract, device, label_palette)
        networks = (device, distributed, teacher, segmenter, data.contract.grey)
        # The timed state is dropped: the run begins as if nothing had been timed.
        timed = (data, TrainState(config, *networks))
        estimate = time_steps(*timed, halve=machine.halve_micro_batch)
        del timed
        if resume_from is None:
            config = estimate.fit(config, budget_s)
        state = TrainState(config, *networks)
        if resume_from is not None:
            check_same_data(resume_from.dataset, data)
            state.resume(resume_from)
        elif start_from is not None:
            state.start_from(start_from)
        recorder = Recorder(run_dir, data, state, eval_segmenter, tensorboard and is_first)

        # Batches and progress
        sampler = _sampler(config, len(data.train), state.step, distributed)
        per_epoch, total = sampler.steps_per_epoch, state.step + len(sampler)
        per_round = round_steps(total, per_epoch)
        batches = training_batches(
            data.train, sampler, workers=machine.decoders(), pin_memory=device.type == "cuda"
        )
        state.generator.recompute = machine.recompute
        facts = _announce(run_dir, data, state, estimate) if is_first else []
        stack.enter_context(named_worker_failures())
        stop = stack.enter_context(StopRequest(notice=STOPPING if is_first else ""))
        progress = TrainProgress(state.step, total, recorder.batch_size, silent=not is_first)
        stack.enter_context(progress)
        page = RunPage(run_dir, config, facts, recorder, silent=not is_first)
        stack.enter_context(page)
        page.show([f"step {state.step}/{total}"], state.step / total)
        tick_s = saved_s = time.monotonic()

        for batch in batches:
            # Every step
            state.begin_step(total)
            losses = train_step(
                state, batch.to(device), halve_on_out_of_memory=machine.halve_micro_batch
            )
            state.count(losses)
            stopping = distributed.any(stop.requested)
            epoch, round_ends = state.step / per_epoch, state.step % per_round == 0
            finished = state.step == total

            # The tick: losses are read and shown
            if round_ends or finished or stopping or time.monotonic() - tick_s >= TICK_S:
                means = state.mean_losses()
                words = progress.show(state.step, epoch, recorder.summary(means))
                page.show(words, state.step / total)
                tick_s = time.monotonic()

            # Validation and checkpoints
            overdue = distributed.any(time.monotonic() - saved_s >= SAVE_EVERY_S)
            if round_ends or finished or stopping or overdue:
                with progress.paused():
                    state.gather_rng_states()
                    if is_first and (round_ends or finished):
                        recorder.measure(means, epoch=epoch, images_per_s=progress.speed())
                    if is_first:
                        recorder.save()
                saved_s = time.monotonic()
            if stopping:
                break
        return Finish(
            run_dir=run_dir,
            step=state.step,
            exit_code=stop.exit_code,
            best_l1=state.best_l1,
            is_first=is_first,
            doubt=recorder.doubt,
        )


def new_run_dir(config: TrainConfig) -> Path:
    """Return the next free ``runs/<data>-<n>``."""
    name = Path(config.data.folder).resolve().name or "run"
    return next(
        path for number in itertools.count(1) if not (path := RUNS / f"{name}-{number}").exists()
    )


def describe_run(config: TrainConfig, data: TrainingData) -> tuple[str, str]:
    """Return a line about the pairs and one about the generator."""
    with torch.device("meta"):  # no memory, no random numbers
        generator = make_generator(config)
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    macs = unet_macs(
        height=config.data.height,
        width=config.data.width,
        ngf=config.model.ngf,
        downsamplings=config.downsamplings,
    )
    return (
        f"{len(data.train)} training and {len(data.val)} validation pairs; {data.palette_note}",
        f"generator: {parameters / 1e6:.2f} M parameters, {macs / 1e9:.2f} GMAC an image",
    )


def _sampler(
    config: TrainConfig, pairs: int, first_step: int, distributed: Distributed
) -> EpochSampler:
    optim, world_size = config.optim, distributed.world_size
    batch_size = min(optim.batch_size, pairs)
    if batch_size % world_size:
        raise ConfigError(f"batch-size {batch_size} is not a multiple of {world_size} processes")
    return EpochSampler(
        pairs=pairs,
        batch_size=optim.batch_size,
        seed=config.data.seed,
        first_step=first_step,
        last_step=max(total_steps(config, pairs // batch_size), first_step),
        rank=distributed.rank,
        world_size=world_size,
    )


def _announce(
    run_dir: Path, data: TrainingData, state: TrainState, estimate: Estimate
) -> list[str]:
    """Write the settings, say what is trained, and return the same as lines."""
    model, loss = state.config.model, state.config.loss
    for_labels = model.discriminator == "patch" or loss.lambda_pattern  # unlike enhance
    if data.contract.palette is None and model.num_downs is not None and for_labels:
        logger.warning(
            "few downsamplings, as in the recipes edge and student, were measured on label maps; "
            "where detail of the input should pass through (colourisation), --recipe classic "
            "keeps more of it"
        )
    where, precision = describe_device(state.device), state.config.precision
    first, total = state.step, total_steps(state.config, estimate.per_epoch)
    facts = [*describe_run(state.config, data)]
    if first < total:  # or the run stays as it is
        write_json(run_dir / "config.json", state.config.to_json())
        steps = f"steps {first} to {total}, from epoch {first / estimate.per_epoch:.2f}"
        facts.append(f"training on {where} in {precision}, {steps}")
    facts.append(estimate.describe(state.config, first))
    for line in facts:
        logger.info(line)
    logger.info("to follow it in a browser, open %s", run_dir / "index.html")
    return facts
