"""Everything about the data that a run needs before its first step; each file is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from p2p_runtime.errors import CheckpointError, DatasetError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.networks.pixels import to_signal

from .augment import Augmentation
from .batches import validation_batches
from .classes_present import MAX_INPUTS, ClassCounter
from .dataset import PairBatch, PairDataset
from .decode import ImageGoneError, read_input, read_pair
from .labels import open_pairs
from .layouts import Pair, evenly_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VALIDATION_BATCH", "TrainingData", "check_same_data", "prepare_data"]

VALIDATION_BATCH = 8

MEAN_IMAGE_PAIRS = 256
"""Maximum number of training photos in the mean photo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The pairs of a run, ready to be read.

    Attributes:
        contract: how an input becomes the generator's input, in training and on the device.
        train: the training pairs, augmented.
        val: the validation pairs, as they are.
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
    val = PairDataset(pairs.val, contract)
    samples, mean_image_l1 = _scan_validation(val, data.samples, mean)
    return TrainingData(
        contract=contract,
        train=PairDataset(
            pairs.train,
            contract,
            Augmentation(jitter_px=data.jitter_px, flip=data.flip, seed=data.seed),
        ),
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
    """Make sure that a run goes on with the pairs that it began with.

    Args:
        before: the facts in its checkpoint.
        data: the pairs now.

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
    """Read training pairs once: the classes present, and the mean photo.

    Returns:
        Indices of the classes, ascending (None without a palette), and (3, H, W) in [-1, 1].
    """
    counter = None if palette is None else ClassCounter(palette)
    preprocess = replace(contract, palette=None).preprocess
    photos: list[NDArray[np.uint8]] = []
    limit = MEAN_IMAGE_PAIRS if counter is None else MAX_INPUTS
    for number, index in enumerate(evenly_spread(len(pairs), limit)):
        try:
            if number < MEAN_IMAGE_PAIRS:
                label, photo = read_pair(pairs[index], palette)
                photos.append(preprocess(photo))
            else:
                label = read_input(pairs[index].input, palette)
        except ImageGoneError:
            continue  # training puts a neighbour in its place, and counts it
        if counter is not None:
            counter.add(label)
    return None if counter is None else counter.present(), _mean_signal(photos)


def _mean_signal(photos: list[NDArray[np.uint8]]) -> torch.Tensor:
    """Return the mean of (H, W, 3) uint8 BGR photos, (3, H, W) in [-1, 1]."""
    if not photos:
        raise DatasetError("no training image is left: their files have gone")
    total = torch.zeros(())
    for part in torch.split(torch.from_numpy(np.stack(photos)), VALIDATION_BATCH):
        total = total + to_signal(part).sum(dim=0)  # (n, H, W, 3) -> (3, H, W)
    return total / len(photos)


def _scan_validation(val: PairDataset, samples: int, mean: torch.Tensor) -> tuple[PairBatch, float]:
    """Read validation pairs once: some for sample grids, and their L1 to the mean photo.

    Args:
        val: the pairs; its cache keeps the label maps for later.
        samples: number of pairs to keep, spread evenly, or all if there are fewer.
        mean: the mean training photo, (3, H, W) in [-1, 1].
    """
    chosen, kept, distances = evenly_spread(len(val), samples), [], []
    for number, batch in enumerate(validation_batches(val, VALIDATION_BATCH)):
        distances.append((to_signal(batch.target) - mean).abs().mean(dim=(1, 2, 3)))  # (n,)
        first = number * VALIDATION_BATCH
        inside = [index - first for index in chosen if first <= index < first + len(batch.source)]
        kept.append(PairBatch(source=batch.source[inside], target=batch.target[inside]))
    return PairBatch.join(kept), float(torch.cat(distances).mean())
