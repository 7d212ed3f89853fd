"""Score a trained generator, as ``p2p-train score`` does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2p_runtime.console import StatusLine
from p2p_runtime.errors import ConfigError

from .data.dataset import PairBatch
from .devices import choose_precision, find_device
from .metrics.clips import clip_frames
from .metrics.evaluator import SegmentationScore
from .metrics.published import PublishedMetrics
from .metrics.score import (
    Scores,
    Translate,
    other_photos,
    pairs_of,
    score_generator,
    torch_translate,
    validation_pairs,
)
from .segmentation.segmenter import Segmenter
from .segmentation.training import SegmenterConfig, read_data, train_segmenter
from .tensorfile import digest
from .training.checkpoint import Checkpoint, find_checkpoint

__all__ = ["score"]

logger = logging.getLogger(__name__)


def score(
    run: str | Path | Checkpoint,
    *,
    data: str | Path | None = None,
    segmenter: str | Path | None = None,
    clip: str | None = None,
    clip_photos: str | None = None,
    published: bool = False,
    usefulness: bool = False,
    device: str = "auto",
) -> Scores:
    """Score a generator on its validation pairs, in eval mode and fp32.

    Args:
        run: a run's folder, of which ``best.pt`` is taken, or a checkpoint.
        data: where the pairs lie now; None for where they lay in training.
        segmenter: file of ``p2p-train segmenter``, for the segmentation score.
        clip: consecutive label maps in the palette's colours, a folder or a video, for the flicker.
        clip_photos: real pictures of the same moments.
        published: measure distances in the features of a published ImageNet network, too.
        usefulness: train three segmenters, too: on photos, on generated pictures, on colours.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        CheckpointError: the checkpoint or the segmenter is missing or broken.
        ConfigError: the segmenter was trained on other labels, ``clip`` is missing, or there are no
            label maps to train segmenters with.
        DatasetError: the pairs are missing or broken.
        DeviceUnavailableError: the device is not there.
        MissingExtraError: ``published`` needs a package that is not installed.
        SourceError: the clip cannot be read.
    """
    if clip_photos and not clip:
        raise ConfigError("--clip-photos belongs to --clip, which is missing")
    where = find_device(device)
    checkpoint = run if isinstance(run, Checkpoint) else Checkpoint.load(find_checkpoint(Path(run)))
    contract, folder = checkpoint.contract, None if data is None else Path(data)
    pairs, metrics = pairs_of(checkpoint.config, folder), None
    evaluator = None if segmenter is None else Segmenter.load(Path(segmenter), where)
    if evaluator is not None:
        evaluator.check_labels(pairs.val[0].label_palette or contract.palette)
        trained_with = checkpoint.training.get("loss_networks", {}).get("segmenter")
        if trained_with == digest(evaluator.network.state_dict()):
            logger.warning(
                "the generator was trained with %s as its semantic loss, so its score is too "
                "good; score with a segmenter of another --seed",
                segmenter,
            )
    if published:
        metrics = PublishedMetrics(where, other_photos(pairs, contract))
    translate = torch_translate(checkpoint.build_generator(), where)
    scores = score_generator(
        translate,
        _shown(validation_pairs(pairs, contract), len(pairs.val)),
        segmenter=evaluator,
        published=metrics,
        clip=clip_frames(clip, contract, clip_photos) if clip else None,
    )
    return _with_usefulness(scores, checkpoint, translate, folder, where) if usefulness else scores


def _with_usefulness(
    scores: Scores,
    checkpoint: Checkpoint,
    translate: Translate,
    folder: Path | None,
    device: torch.device,
) -> Scores:
    """Train segmenters that differ in nothing but their pictures, and add their scores."""
    contract, config = checkpoint.contract, checkpoint.config
    settings = SegmenterConfig(
        data=(config if folder is None else config.replace(data=str(folder))).data,
        size=(contract.width, contract.height),
        precision=choose_precision("auto", device),
    )

    real = read_data(settings)
    photos, labels = real.train

    def trained_on(what: str, pictures: NDArray[np.uint8]) -> SegmentationScore:
        logger.info("usefulness: a segmenter that learns from %s", what)
        return train_segmenter(
            settings, device, real._replace(train=(pictures, labels))
        ).photo_score

    generated = translate(np.stack([contract.preprocess(label) for label in labels]))
    return replace(
        scores,
        usefulness_real=trained_on("photos", photos),
        usefulness=trained_on("generated pictures", generated),
        usefulness_colours=trained_on("label colours", labels),
    )


def _shown(batches: Iterable[PairBatch], total: int) -> Iterator[PairBatch]:
    """Yield batches, and show how many of their pairs are scored."""
    done = 0
    with StatusLine() as line:
        for batch in batches:
            yield batch
            done += len(batch.source)
            line.show(f"pair {done}/{total}", share=done / total)
