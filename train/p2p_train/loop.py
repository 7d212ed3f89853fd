"""The training loop: the whole story of a run, from the first step to the last checkpoint."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_runtime.errors import TrainingError
from p2p_runtime.files import check_writable_folder, exclusive_lock, write_text
from p2p_runtime.interrupts import StopRequest

from .checkpoint import Checkpoint
from .config import TrainConfig
from .data import EpochSampler, training_batches, validation_batches
from .devices import describe_device, peak_memory_mib
from .metrics import Quality, eval_mode, evaluate
from .pixels import to_pixels, to_signal
from .prepare import VALIDATION_BATCH, TrainingData, check_same_data, prepare_data
from .progress import TrainProgress
from .runlog import EpochRecord, RunLog, sample_grid
from .state import TrainState
from .step import train_step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .judge import Judge

__all__ = ["Finish", "Machine", "train"]

logger = logging.getLogger(__name__)

TICK_S = 1.0
"""How often the losses are read from the device, which has to wait for that."""

SAVE_EVERY_S = 300.0
"""A run that is killed loses no more than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What to train with; none of it changes what is learned, rounding apart.

    Attributes:
        device: where the networks live.
        workers: processes that decode images ahead; 0 decodes in the training process.
        compile: let torch.compile fuse the networks; the first steps then take a minute.
        halve_micro_batch: when memory runs out, go on with micro-batches of half the size.
    """

    device: torch.device
    workers: int = 0
    compile: bool = False
    halve_micro_batch: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """How a run ended.

    Attributes:
        step: steps done.
        exit_code: 0, or 130 / 143 when a signal stopped it.
        best_l1: least validation L1, in [-1, 1] signal units.
    """

    step: int
    exit_code: int
    best_l1: float


def train(
    config: TrainConfig,
    *,
    run_dir: Path,
    machine: Machine,
    resume_from: Checkpoint | None = None,
    judge: Judge | None = None,
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
        CheckpointError: ``resume_from`` belongs to other networks or other pairs.
        TrainingError: a loss or a weight is not a number any more.
        OutputError: a result cannot be written, or another run holds ``run_dir``.
        ConfigError: the judge knows other labels.
    """
    with contextlib.ExitStack() as stack:
        # The place
        check_writable_folder(run_dir / "checkpoints")
        busy = f"another p2p-train is writing to {run_dir}; choose another --run-dir"
        stack.enter_context(exclusive_lock(run_dir / ".lock", busy))

        # The data and the players
        data = prepare_data(config)
        if judge is not None:
            judge.check_labels(data.contract)
        state = TrainState(config, machine.device)
        if resume_from is not None:
            check_same_data(resume_from, data)
            state.restore(resume_from)
        write_text(run_dir / "config.json", json.dumps(config.to_json(), indent=2) + "\n")
        log = RunLog(run_dir, state.step, tensorboard=tensorboard)
        stack.callback(log.close)
        run = _Run(run_dir, data, state, log, judge)

        # The plan
        sampler = _sampler(config, len(data.train), first_step=state.step)
        per_epoch, total = sampler.steps_per_epoch, state.step + len(sampler)
        loader = training_batches(
            data.train,
            sampler,
            workers=machine.workers,
            pin_memory=machine.device.type == "cuda",
        )
        if machine.compile:
            state.generator.compile()
            state.discriminator.compile()
        _announce(data, state, total)
        stop = stack.enter_context(StopRequest())
        progress = stack.enter_context(
            TrainProgress(total_steps=total, first_step=state.step, batch_size=run.batch_size)
        )
        tick_s = saved_s = time.monotonic()

        for batch in loader:
            # Every iteration
            state.begin_step(total)
            losses = train_step(
                state, batch.to(machine.device), halve_on_out_of_memory=machine.halve_micro_batch
            )
            state.count(losses)
            epoch_ends = state.step % per_epoch == 0
            ends = epoch_ends or state.step == total or stop.requested

            # The tick
            if ends or time.monotonic() - tick_s >= TICK_S:
                means = _read_losses(state)
                progress.show(state.step, state.step / per_epoch, _in_words(means))
                tick_s = time.monotonic()

            # Measuring and keeping
            if ends or time.monotonic() - saved_s >= SAVE_EVERY_S:
                progress.pause()
                if epoch_ends or state.step == total:
                    run.measure(means, epoch=state.step / per_epoch, images_per_s=progress.speed())
                run.save()
                progress.resume()
                saved_s = time.monotonic()
            if stop.requested:
                break
        return Finish(step=state.step, exit_code=stop.exit_code, best_l1=state.best_l1)


class _Run:
    """A run directory and what is written to it."""

    def __init__(
        self,
        run_dir: Path,
        data: TrainingData,
        state: TrainState,
        log: RunLog,
        judge: Judge | None,
    ) -> None:
        self._checkpoints = run_dir / "checkpoints"
        self._data = data
        self._state = state
        self._log = log
        self._judge = judge
        self.batch_size = min(state.config.batch_size, len(data.train))

    def measure(self, losses: dict[str, float], *, epoch: float, images_per_s: float) -> None:
        """Validate, write a line, curves and samples; keep the weights if they are the best."""
        state, data = self._state, self._data
        quality = evaluate(
            state.shipped(),
            validation_batches(data.val, VALIDATION_BATCH),
            state.device,
            self._judge,
        )
        record = EpochRecord(
            epoch=epoch,
            step=state.step,
            images_seen=state.step * self.batch_size,
            **losses,
            val_l1=quality.l1,
            val_psnr_db=quality.psnr_db,
            val_ssim=quality.ssim,
            mean_image_l1=data.mean_image_l1,
            images_per_s=images_per_s,
            peak_memory_mib=peak_memory_mib(state.device),
            **self._fidelity(quality),
        )
        self._log.add(record, self._sample_grid())
        state.forget_losses()
        logger.info(
            "epoch %.2f: %s, validation L1 %.4f (mean photo %.4f), PSNR %.2f dB, %.1f images/s",
            epoch,
            _in_words(losses),
            quality.l1,
            data.mean_image_l1,
            quality.psnr_db,
            images_per_s,
        )
        if quality.l1 < state.best_l1:
            state.best_l1 = quality.l1
            self._checkpoint().save(self._checkpoints / "best.pt")

    def _fidelity(self, quality: Quality) -> dict[str, float]:
        if self._judge is None or quality.fidelity is None:
            return {}
        return {
            "val_pixel_accuracy": quality.fidelity.pixel_accuracy,
            "val_class_accuracy": quality.fidelity.class_accuracy,
            "val_mean_iou": quality.fidelity.mean_iou,
            "ceiling_mean_iou": self._judge.ceiling.mean_iou,
        }

    def save(self) -> None:
        """Write ``last.pt``, never with weights that are not numbers."""
        if not self._state.weights_are_finite():
            raise TrainingError(_not_a_number(self._state.step, "a weight"))
        self._checkpoint().save(self._checkpoints / "last.pt")

    def _checkpoint(self) -> Checkpoint:
        return self._state.to_checkpoint(
            self._data.contract, self._data.samples.source, self._data.facts
        )

    @torch.inference_mode()
    def _sample_grid(self) -> NDArray[np.uint8]:
        """Draw the fixed samples with the generator as it ships: eval mode."""
        state, samples = self._state, self._data.samples
        with eval_mode(state.shipped()) as generator:
            generated = [
                to_pixels(generator(to_signal(source[None].to(state.device))))
                for source in samples.source
            ]
        return sample_grid(
            samples.source.numpy(), torch.cat(generated).cpu().numpy(), samples.target.numpy()
        )


def _sampler(config: TrainConfig, pairs: int, *, first_step: int) -> EpochSampler:
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
    )


def _announce(data: TrainingData, state: TrainState, total: int) -> None:
    logger.info(
        "%d training and %d validation pairs; %s", len(data.train), len(data.val), data.palette_note
    )
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
        raise TrainingError(_not_a_number(state.step, "a loss"))
    if min(state.loss_scales()) < 1:
        raise TrainingError(_not_a_number(state.step, "every fp16 gradient"))
    return losses


def _not_a_number(step: int, what: str) -> str:
    return (
        f"{what} is not a number any more at step {step}; checkpoints/last.pt still holds the "
        "last good weights: go on from there with a lower --lr or --precision fp32"
    )


def _in_words(losses: dict[str, float]) -> str:
    return (
        f"G {losses['generator_adversarial']:.3f}, L1 {losses['generator_l1']:.4f}, "
        f"D real {losses['discriminator_real']:.3f}, fake {losses['discriminator_fake']:.3f}"
    )
