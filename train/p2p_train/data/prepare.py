"""Everything about the data that a run needs before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from p2p_runtime.errors import CheckpointError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.metrics import mean_image_l1
from p2p_train.training.checkpoint import Checkpoint

from .augment import Augmentation
from .batches import validation_batches
from .classes_present import find_classes_present
from .dataset import PairBatch, PairDataset
from .labels import open_pairs

__all__ = ["VALIDATION_BATCH", "TrainingData", "check_same_data", "prepare_data"]

VALIDATION_BATCH = 8
MEAN_IMAGE_PAIRS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The pairs of a run, ready to be read.

    Attributes:
        contract: how an input becomes the generator's input, in training and on the device.
        train: the training pairs, augmented.
        val: the validation pairs, as they are.
        samples: some validation pairs, the same in every sample grid.
        mean_image_l1: validation L1 of answering with the mean training photo.
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
    """Find the pairs, choose the palette, and read what the run compares itself with.

    Raises:
        DatasetError: the pairs are missing or broken.
        ConfigError: the palette file is malformed.
    """
    source = open_pairs(config)
    pairs = source.pairs
    contract = PixelContract(
        height=config.height,
        width=config.width,
        palette=source.palette,
        direction=pairs.direction,
        classes_present=find_classes_present(pairs.train, source.palette)
        if source.palette
        else None,
    )
    val = PairDataset(pairs.val, contract)
    plain = validation_batches(PairDataset(pairs.train, contract), VALIDATION_BATCH)
    return TrainingData(
        contract=contract,
        train=PairDataset(
            pairs.train,
            contract,
            Augmentation(jitter_px=config.jitter_px, flip=config.flip, seed=config.seed),
        ),
        val=val,
        samples=_spread(val, config.samples),
        mean_image_l1=mean_image_l1(
            islice(plain, MEAN_IMAGE_PAIRS // VALIDATION_BATCH),
            validation_batches(val, VALIDATION_BATCH),
        ),
        facts={
            "fingerprint": pairs.fingerprint,
            "train_pairs": len(pairs.train),
            "val_pairs": len(pairs.val),
        },
        palette_note=source.note,
    )


def check_same_data(checkpoint: Checkpoint, data: TrainingData) -> None:
    """Make sure that a run goes on with the pairs that it began with.

    Raises:
        CheckpointError: the data set has other files, or other sizes of them.
    """
    if checkpoint.dataset != data.facts:
        raise CheckpointError(
            "the data set is not the one that this run began with: "
            f"{checkpoint.dataset['train_pairs']} + {checkpoint.dataset['val_pairs']} pairs then, "
            f"{data.facts['train_pairs']} + {data.facts['val_pairs']} now "
            "(training + validation; names or sizes differ); start a new run instead"
        )


def _spread(dataset: PairDataset, count: int) -> PairBatch:
    """Return ``count`` pairs spread evenly over the data set, or all if there are fewer."""
    chosen = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    return PairBatch.join([dataset[0, int(index)] for index in chosen])
