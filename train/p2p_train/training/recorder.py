"""What a run writes: validation figures, sample grids and checkpoints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_runtime.errors import TrainingError
from p2p_train.data.batches import spread_batches, validation_batches
from p2p_train.data.prepare import VALIDATION_BATCH, TrainingData
from p2p_train.devices import peak_memory_mib
from p2p_train.losses import loss_curves
from p2p_train.metrics.images import eval_mode
from p2p_train.metrics.score import Scores, evaluate
from p2p_train.networks.norms import update_bn
from p2p_train.networks.pixels import to_pixels, to_signal
from p2p_train.segmentation.segmenter import Segmenter

from .checkpoint import Checkpoint
from .runlog import EpochRecord, RunLog, sample_grid
from .state import TrainState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Recorder", "not_a_number"]

BATCHNORM_BATCH = 32
"""Pairs a batch for BatchNorm statistics, in which no single picture should count much."""

logger = logging.getLogger(__name__)


class Recorder:
    """A run directory and what is written to it.

    Args:
        run_dir: where ``checkpoints/`` lies.
        data, state: what is validated and saved.
        log: the JSONL line, the curves and the sample grids.
        segmenter: computes the segmentation score, if given.

    Raises:
        ConfigError: the segmenter was trained on other labels.
    """

    def __init__(
        self,
        run_dir: Path,
        data: TrainingData,
        state: TrainState,
        log: RunLog,
        segmenter: Segmenter | None,
    ) -> None:
        self._checkpoints = run_dir / "checkpoints"
        self._data = data
        self._state = state
        self._log = log
        if segmenter is not None:
            segmenter.check_labels(data.contract)
        self._segmenter = segmenter
        self._curves = loss_curves(state.config)
        self.batch_size = min(state.config.optim.batch_size, len(data.train))

    def measure(self, losses: dict[str, float], *, epoch: float, images_per_s: float) -> None:
        """Validate, write a line, curves and samples; keep the weights if they are the best."""
        state, data = self._state, self._data
        self._update_bn()
        scores = evaluate(
            state.exported_generator(),
            validation_batches(data.val, VALIDATION_BATCH),
            state.device,
            self._segmenter,
        )
        record = EpochRecord(
            epoch=epoch,
            step=state.step,
            images_seen=state.step * self.batch_size,
            losses=losses,
            val_l1=scores.l1,
            val_psnr_db=scores.psnr_db,
            val_ssim=scores.ssim,
            mean_image_l1=data.mean_image_l1,
            images_per_s=images_per_s,
            peak_memory_mib=peak_memory_mib(state.device),
            segmentation=self._segmentation(scores),
        )
        self._log.add(record, self._sample_grid())
        state.reset_losses()
        logger.info(
            "epoch %.2f: %s, validation L1 %.4f (mean photo %.4f), PSNR %.2f dB, %.1f images/s",
            epoch,
            self.summary(losses),
            scores.l1,
            data.mean_image_l1,
            scores.psnr_db,
            images_per_s,
        )
        if state.note_validation(scores.l1):
            self._checkpoint().save(self._checkpoints / "best.pt")

    def summary(self, losses: dict[str, float]) -> str:
        """Return the main losses in a few words, for the progress line and the log."""
        shown = [(curve.progress, losses[name]) for name, curve in self._curves.items()]
        return ", ".join(
            f"{words[0]} {value:.{words[1]}f}" for words, value in shown if words is not None
        )

    def _update_bn(self) -> None:
        """Estimate BatchNorm statistics of the averaged weights, which no step ran with."""
        count, average = self._state.config.optim.update_bn, self._state.average
        if count and average is not None:
            batches = spread_batches(self._data.train, count, BATCHNORM_BATCH)
            device = self._state.device
            update_bn(average, (to_signal(one.to(device).source) for one in batches))

    def _segmentation(self, scores: Scores) -> dict[str, float]:
        if self._segmenter is None or scores.segmentation is None:
            return {}
        return {
            "val_pixel_accuracy": scores.segmentation.pixel_accuracy,
            "val_class_accuracy": scores.segmentation.class_accuracy,
            "val_mean_iou": scores.segmentation.mean_iou,
            "photo_mean_iou": self._segmenter.photo_score.mean_iou,
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
        """Translate the fixed samples with the exported generator, in eval mode."""
        state, samples = self._state, self._data.samples
        with eval_mode(state.exported_generator()) as generator:
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
