"""Everything about the data that a run needs before its first step; each file is read once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from p2p_runtime.errors import CheckpointError, DatasetError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.networks.pixels import to_signal

from .batches import validation_batches
from .classes_present import MAX_INPUTS, ClassCounter
from .dataset import Augmentation, PairBatch, PairDataset
from .decode import ImageGoneError, read_input, read_pair
from .labels import open_pairs
from .layouts.images import Pair
from .layouts.index import evenly_spread

__all__ = ["VALIDATION_BATCH", "TrainingData", "check_same_data", "prepare_data"]

VALIDATION_BATCH = 8

MEAN_IMAGE_PAIRS = 256
"""Maximum number of training photos in the mean photo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The pairs of a run, ready to be read.

    Attributes:
        contract: how an input becomes the generator's input, in training and on the device.
        train, val: the training pairs, augmented, and the validation pairs, as they are.
        samples: some validation pairs, the same in every sample grid.
        mean_image_l1: validation L1 of the mean training photo as the output for every input, in
            [-1, 1] signal units. A generator that is no better makes no use of its inputs.
        facts: fingerprint and sizes, for the checkpoint.
        palette_note: a sentence on how the data and the palette were found.
    """

    contract: PixelContract
    train: PairDataset
    val: PairDataset
    samples: PairBatch
    mean_image_l1: float
    facts: dict[str, Any]
    palette_note: str


def prepare_data(config: TrainConfig) -> TrainingData:
    """Find the pairs, choose the palette, and read what the run needs to know of them.

    Raises:
        DatasetError: the pairs are missing or broken.
        ConfigError: the palette file is malformed.
    """
    data = config.data
    source = open_pairs(data)
    pairs = source.pairs
    contract = PixelContract(
        height=data.height, width=data.width, palette=source.palette, direction=pairs.direction
    )
    classes_present, mean = _scan_training(pairs.train, source.palette, contract)
    contract = replace(contract, classes_present=classes_present)
    augmentation = Augmentation(jitter_px=data.jitter_px, flip=data.flip, seed=data.seed)
    val = PairDataset(pairs.val, contract)
    samples, mean_image_l1 = _scan_validation(val, data.samples, mean)
    return TrainingData(
        contract=contract,
        train=PairDataset(pairs.train, contract, augmentation),
        val=val,
        samples=samples,
        mean_image_l1=mean_image_l1,
        facts={
            "fingerprint": pairs.fingerprint,
            "train_pairs": len(pairs.train),
            "val_pairs": len(pairs.val),
        },
        palette_note=source.note,
    )


def check_same_data(before: dict[str, Any], data: TrainingData) -> None:
    """Make sure that ``data`` holds the pairs whose facts stand in a run's checkpoint.

    Raises:
        CheckpointError: the data set has other files, or other sizes of them.
    """
    if before != data.facts:
        raise CheckpointError(
            "the data set is not the one that this run began with: "
            f"{before['train_pairs']} + {before['val_pairs']} pairs then, "
            f"{data.facts['train_pairs']} + {data.facts['val_pairs']} now "
            "(training + validation; names or sizes differ); start a new run instead"
        )


def _scan_training(
    pairs: Sequence[Pair], palette: Palette | None, contract: PixelContract
) -> tuple[tuple[int, ...] | None, torch.Tensor]:
    """Read training pairs once: the classes present, and the mean photo, (3, H, W) in [-1, 1]."""
    counter = None if palette is None else ClassCounter(palette)
    preprocess = replace(contract, palette=None).preprocess
    chosen = evenly_spread(len(pairs), MEAN_IMAGE_PAIRS if counter is None else MAX_INPUTS)
    total, count = torch.zeros(()), 0
    for first in range(0, len(chosen), VALIDATION_BATCH):
        photos = []
        for index in chosen[first : first + VALIDATION_BATCH]:
            # Training puts a neighbour in the place of a pair that has gone, and counts it.
            with contextlib.suppress(ImageGoneError):
                if first < MEAN_IMAGE_PAIRS:
                    label, photo = read_pair(pairs[index], palette)
                    photos.append(preprocess(photo))
                else:
                    label = read_input(pairs[index].input, palette)
                if counter is not None:
                    counter.add(label)
        if photos:
            batch = torch.from_numpy(np.stack(photos))  # (n, H, W, 3) uint8 BGR
            total = total + to_signal(batch).sum(dim=0)  # (3, H, W)
            count += len(photos)
    if not count:
        raise DatasetError("no training image is left: their files have gone")
    return None if counter is None else counter.present(), total / count


def _scan_validation(val: PairDataset, samples: int, mean: torch.Tensor) -> tuple[PairBatch, float]:
    """Read validation pairs once: evenly spread samples, and the L1 of all to the mean photo."""
    chosen, kept, distances = evenly_spread(len(val), samples), [], []
    for number, batch in enumerate(validation_batches(val, VALIDATION_BATCH)):
        distances.append((to_signal(batch.target) - mean).abs().mean(dim=(1, 2, 3)))  # (n,)
        first = number * VALIDATION_BATCH
        inside = [index - first for index in chosen if first <= index < first + len(batch.source)]
        kept.append(PairBatch(source=batch.source[inside], target=batch.target[inside]))
    return PairBatch.join(kept), float(torch.cat(distances).mean())
