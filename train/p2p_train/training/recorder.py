"""What a run writes: the log with its curves and sample grids, and checkpoints."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2p_runtime.documents import parse_json, read_file
from p2p_runtime.errors import ContractError, count_of
from p2p_runtime.files import write_bytes, write_picture, write_text
from p2p_train.data.batches import validation_batches
from p2p_train.data.prepare import VALIDATION_BATCH, TrainingData
from p2p_train.devices import peak_memory_mib
from p2p_train.losses import loss_curves
from p2p_train.losses.base import Curve
from p2p_train.metrics.images import eval_mode
from p2p_train.metrics.score import Scores, evaluate
from p2p_train.networks.pixels import to_pixels, to_signal
from p2p_train.segmentation.segmenter import Segmenter

from .board import Board
from .checkpoint import Checkpoint
from .curves import draw_curves, sample_grid
from .state import TrainState

__all__ = ["Recorder", "RunLog"]

LOOKED_AT_FROM = 3
"""Number of validations after which a run should have learned something."""

ALIKE = 0.02
"""Ratio of differences, between samples and between their photos, of samples that are alike."""

WON = 0.005
"""Loss of a discriminator that is never wrong."""

LONG_IMAGES = 10_000
"""Number of images after which pictures should follow their photos."""

MAX_LOG_BYTES = 1 << 30
"""Maximum size of a run's log."""

logger = logging.getLogger(__name__)


class Recorder:
    """A run directory and what is written to it.

    Attributes:
        doubt: why the run seems to learn nothing, by the last validation; None if it does not.

    Raises:
        ConfigError: the segmenter was trained on other labels.
    """

    def __init__(
        self,
        run_dir: Path,
        data: TrainingData,
        state: TrainState,
        segmenter: Segmenter | None,
        tensorboard: bool,
    ) -> None:
        self._checkpoints = run_dir / "checkpoints"
        self._data, self._state, self._segmenter = data, state, segmenter
        if segmenter is not None:
            segmenter.check_labels(data.val.label_palette or data.contract.palette)
        self._curves = loss_curves(state.config)
        self.log = RunLog(run_dir, state.step, self._curves, tensorboard=tensorboard)
        self.batch_size = min(state.config.optim.batch_size, len(data.train))
        self.doubt: str | None = None

    def measure(self, losses: dict[str, float], *, epoch: float, images_per_s: float) -> None:
        """Validate, write a line, curves and samples; keep the weights if they are the best."""
        state, data = self._state, self._data
        batches = validation_batches(data.val, VALIDATION_BATCH)
        scores = evaluate(state.exported_generator(), batches, state.device, self._segmenter)
        record = {
            "epoch": epoch,
            "step": state.step,
            "images_seen": state.step * self.batch_size,
            "val_l1": scores.l1,
            "val_psnr_db": scores.psnr_db,
            "val_ssim": scores.ssim,
            "mean_image_l1": data.mean_image_l1,
            "images_per_s": images_per_s,
            "peak_memory_mib": peak_memory_mib(state.device),
            **losses,
            **self._segmentation(scores),
        }
        generated = self._generate_samples()
        samples = data.samples
        columns = {"input": samples.source.numpy(), "generated": generated}
        grid = sample_grid(columns | {"target": samples.target.numpy()})
        self.log.add(record, grid)
        self._look(record, generated)
        state.reset_losses()
        text = "epoch %.2f: %s, validation L1 %.4f (mean photo %.4f), PSNR %.2f dB, %.1f images/s"
        figures = (scores.l1, data.mean_image_l1, scores.psnr_db, images_per_s)
        logger.info(text, epoch, self.summary(losses), *figures)
        if state.note_validation(scores.l1):
            self._checkpoint().without_optimizers().save(self._checkpoints / "best.pt")

    def summary(self, losses: dict[str, float]) -> str:
        """Return the main losses in a few words, for the progress line and the log."""
        shown = [(curve.progress, losses[name]) for name, curve in self._curves.items()]
        return ", ".join(f"{how[0]} {value:.{how[1]}f}" for how, value in shown if how is not None)

    def _segmentation(self, scores: Scores) -> dict[str, float]:
        if self._segmenter is None or scores.segmentation is None:
            return {}
        found = {f"val_{name}": value for name, value in asdict(scores.segmentation).items()}
        return {**found, "photo_mean_iou": self._segmenter.photo_score.mean_iou}

    def save(self) -> None:
        """Write ``last.pt``, then TensorBoard's file: without it, nothing else is lost.

        Raises:
            TrainingError: a weight is not a number; the file that is there stays.
            OutputError: a file cannot be written.
        """
        self._state.check_weights()
        self._checkpoint().save(self._checkpoints / "last.pt")
        self.log.flush_board()

    def _checkpoint(self) -> Checkpoint:
        data = self._data
        return self._state.to_checkpoint(data.contract, data.samples.source, data.facts)

    @torch.inference_mode()
    def _generate_samples(self) -> NDArray[np.uint8]:
        """Translate the fixed samples with the exported generator, in eval mode."""
        device, samples = self._state.device, self._data.samples
        with eval_mode(self._state.exported_generator()) as generator:
            signals = (to_signal(source[None].to(device)) for source in samples.source)
            generated = torch.cat([to_pixels(generator(signal)) for signal in signals])
        return np.asarray(generated.cpu().numpy(), np.uint8)

    def _look(self, record: dict[str, float], generated: NDArray[np.uint8]) -> None:
        """Say once why the run seems to learn nothing; the log must have some lines by then."""
        doubt = None
        if len(self.log.records) >= LOOKED_AT_FROM:
            photos = self._data.samples.target.numpy()
            doubt = find_doubt(self.log.records, spread(generated), spread(photos))
        if doubt is not None and self.doubt is None:
            logger.warning("%s", doubt)
        self.doubt = doubt


def spread(images: NDArray[np.uint8]) -> float:
    """Return how much images (N, H, W, 3) differ from each other, as a mean deviation in levels."""
    return float(images.astype(np.float32).std(axis=0).mean())


def find_doubt(
    records: Sequence[dict[str, float]], generated_spread: float, photo_spread: float
) -> str | None:
    """Return why a run seems to learn nothing, or None.

    It is decided by the lines of its log, and by the :func:`spread` of its samples and photos.
    """
    if generated_spread < ALIKE * photo_spread:
        return (
            "all generated samples are alike, whatever their input: is the input on the right "
            "side (--input-side)? Else try a lower --lr or --lambda-gan"
        )
    last = records[-LOOKED_AT_FROM:]
    names = ("discriminator_real", "discriminator_fake")
    if all(record.get(name, 1.0) < WON for record in last for name in names):
        return (
            "the discriminator has won, so the generator learns nothing from it: try "
            "--lr-discriminator below --lr"
        )
    long = records[-1]["images_seen"] >= LONG_IMAGES
    if long and all(record["val_l1"] >= record["mean_image_l1"] for record in records):
        return (
            "validation L1 was never below that of the mean photo: the pictures may have "
            "texture, but do not follow their photos; look at the samples"
        )
    return None


class RunLog:
    """The log of a run directory.

    =======================  =====================================================================
    epoch, step              done so far; an epoch with a fraction when a run stopped within it
    images_seen              training images shown to the generator so far
    name of a loss           its mean over the steps since the line before, unweighted
    val_l1                   of the validation pairs, in [-1, 1] signal units
    mean_image_l1            the same of the mean training photo as the output for every input
    val_psnr_db, val_ssim    of the validation pairs
    val_pixel_accuracy ...   scores of the validation images, 0-1, in a run with a segmenter
    images_per_s             training speed since this process began, validation not counted
    peak_memory_mib          maximum so far: CUDA allocations on a GPU, else resident size
    =======================  =====================================================================

    Of a resumed run, lines after ``first_step``, of work that was lost, are dropped. ``curves``
    says where each loss is drawn, by name.
    """

    def __init__(
        self, run_dir: Path, first_step: int, curves: dict[str, Curve], *, tensorboard: bool = False
    ) -> None:
        self._run_dir, self._jsonl = run_dir, run_dir / "log.jsonl"
        self._curves = curves
        self._board = Board(run_dir / "tensorboard", first_step) if tensorboard else None
        records = _read_records(self._jsonl) if self._jsonl.exists() else []
        self.records = [record for record in records if record["step"] <= first_step]

    def add(self, record: dict[str, float], grid: NDArray[np.uint8]) -> None:
        """Write a line, redraw the curves and save a sample grid (H, W, 3) uint8 BGR.

        Raises:
            OutputError: a file cannot be written.
        """
        self.records.append(record)
        write_text(self._jsonl, "".join(json.dumps(line) + "\n" for line in self.records))
        write_bytes(self._run_dir / "curves.png", draw_curves(self.records, self._curves))
        for name in (f"step-{record['step']:07d}.png", "latest.png"):
            write_picture(self._run_dir / "samples" / name, grid)
        if self._board is not None:
            values = {f"{self._kind(name)}/{name}": value for name, value in record.items()}
            self._board.add(int(record["step"]), values, grid)

    def flush_board(self) -> None:
        """Write what was added for TensorBoard; an OutputError says that it cannot be."""
        if self._board is not None:
            self._board.flush()

    def _kind(self, name: str) -> str:
        if name.startswith(("val", "photo", "mean_image")):
            return "validation"
        return "losses" if name in self._curves else "run"


def _read_records(path: Path) -> list[dict[str, float]]:
    """Return the lines of a log; damaged ones are told, and kept in a file beside it.

    A ContractError is raised if it cannot be read.
    """
    records: list[dict[str, float]] = []
    damaged: list[bytes] = []
    for line in read_file(path, MAX_LOG_BYTES).splitlines():
        with contextlib.suppress(ContractError):
            record = parse_json(line)
            if {"epoch", "step"} <= {*record} and {*map(type, record.values())} <= {int, float}:
                records.append(record)
                continue
        damaged.append(line)
    if damaged:
        aside = path.with_name("log-damaged.txt")
        lines = count_of(len(damaged), "damaged line")
        logger.warning("%s has %s, kept in %s", path, lines, aside)
        before = read_file(aside, MAX_LOG_BYTES) if aside.exists() else b""
        write_bytes(aside, before + b"".join(line + b"\n" for line in damaged))
    return records
