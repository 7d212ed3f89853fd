"""What a run writes down: validation figures, samples, and checkpoints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_runtime.errors import TrainingError
from p2p_train.data.batches import spread_batches, validation_batches
from p2p_train.data.prepare import VALIDATION_BATCH, TrainingData
from p2p_train.devices import peak_memory_mib
from p2p_train.metrics import Quality, eval_mode, evaluate
from p2p_train.networks.norms import update_bn
from p2p_train.networks.pixels import to_pixels, to_signal
from p2p_train.segmentation import Segmenter

from .checkpoint import Checkpoint
from .runlog import EpochRecord, RunLog, sample_grid
from .state import TrainState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Recorder", "losses_in_words", "not_a_number"]

ESTIMATION_BATCH = 32
"""Larger than in training: the statistics of single pictures should not count."""

IN_WORDS = (
    ("generator_adversarial", "G", 3),
    ("generator_l1", "L1", 4),
    ("discriminator_real", "D real", 3),
    ("discriminator_fake", "fake", 3),
    ("distil_l1", "to the teacher", 4),
)
"""The losses that people watch: name, words, decimals."""

logger = logging.getLogger(__name__)


class Recorder:
    """A run directory and what is written to it.

    Args:
        run_dir: where ``checkpoints/`` lies.
        data, state: what is validated and saved.
        log: the JSONL line, the curves and the sample grids.
        judge: measures label fidelity, if given.
    """

    def __init__(
        self,
        run_dir: Path,
        data: TrainingData,
        state: TrainState,
        log: RunLog,
        judge: Segmenter | None,
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
        self._estimate_norms()
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
            losses_in_words(losses),
            quality.l1,
            data.mean_image_l1,
            quality.psnr_db,
            images_per_s,
        )
        if state.note_validation(quality.l1):
            self._checkpoint().save(self._checkpoints / "best.pt")

    def _estimate_norms(self) -> None:
        """Give the averaged weights, which no step ran with, statistics of their own."""
        count, average = self._state.config.estimate_norm, self._state.average
        if count and average is not None:
            batches = spread_batches(self._data.train, count, ESTIMATION_BATCH)
            device = self._state.device
            update_bn(average, (to_signal(one.to(device).source) for one in batches))

    def _fidelity(self, quality: Quality) -> dict[str, float]:
        if self._judge is None or quality.segmentation is None:
            return {}
        return {
            "val_pixel_accuracy": quality.segmentation.pixel_accuracy,
            "val_class_accuracy": quality.segmentation.class_accuracy,
            "val_mean_iou": quality.segmentation.mean_iou,
            "ceiling_mean_iou": self._judge.photo_score.mean_iou,
        }

    def save(self) -> None:
        """Write ``last.pt``, never with weights that are not numbers."""
        if not self._state.weights_are_finite():
            raise TrainingError(not_a_number(self._state.step, "a weight"))
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


def not_a_number(step: int, what: str) -> str:
    """Return the message for a run that has gone wrong."""
    return (
        f"{what} is not a number any more at step {step}; checkpoints/last.pt still holds the "
        "last good weights: go on from there with a lower --lr or --precision fp32"
    )


def losses_in_words(losses: dict[str, float]) -> str:
    """Return the main losses in a few words, for progress and log."""
    return ", ".join(
        f"{words} {losses[name]:.{digits}f}" for name, words, digits in IN_WORDS if name in losses
    )
