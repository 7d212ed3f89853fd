"""Everything about the data that a run needs before its first step; each file is read once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from p2p_runtime.errors import CheckpointError, DatasetError
from p2p_runtime.labels.ids import Shares, shares_of
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.networks.pixels import to_signal

from .batches import validation_batches
from .dataset import Augmentation, PairBatch, PairDataset
from .decode import ImageGoneError, read_input, read_pair
from .labels import PairSource, open_pairs
from .layouts.images import Pair
from .layouts.index import evenly_spread
from .palette_fit import is_grey
from .suspicions import suspicions_of

__all__ = [
    "VALIDATION_BATCH", "ClassCounter", "TrainingData", "check_same_data", "find_classes_present",
    "prepare_data", "solid_pixels",
]  # fmt: skip

logger = logging.getLogger(__name__)

VALIDATION_BATCH = 8

NOTED = 4
"""Number of classes whose share the first line of a run gives."""

MEAN_IMAGE_PAIRS = 256
"""Maximum number of training photos in the mean photo."""

MAX_INPUTS = 1000
"""Maximum number of training inputs that are searched for classes, spread evenly; a class that none
of them holds is hardly learned."""

# A blurred map has pixels of many classes that are not there, but few solid ones: with neighbours
# of their own class only. Of 992 JPEG maps of Cityscapes pairs, the rarest classes (guard rails,
# caravans, tunnels) have over 0.3 % of three or four, and up to 0.2 % of others, which is blur.
SOLID_SHARE = 1e-4
"""Minimum share of the solid pixels of all maps, for classes that are small but frequent."""

SOLID_SHARE_OF_ONE = 3e-3
"""Minimum share of the pixels of one map, for classes that are large but rare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The pairs of a run, ready to be read; those for training are augmented.

    Attributes:
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
    if data.palette != "auto":
        source.check_palette()
    pairs = source.pairs
    if pairs.left_out:
        logger.info("left out of %s: %s", data.folder, pairs.left_out)
    with contextlib.suppress(ImageGoneError):  # training counts it
        for suspicion in suspicions_of(pairs):
            logger.warning("suspicious: %s", suspicion)
    contract = PixelContract(
        height=data.height,
        width=data.width,
        palette=source.palette,
        direction=pairs.direction,
        levels_16_bit=pairs.train[0].input.levels,
        ids=pairs.train[0].input.ids,
    )
    counter, mean, grey = _scan_training(pairs.train, source.palette, contract)
    contract = replace(contract, grey=grey)
    if counter is not None:
        shares = counter.shares()
        contract = replace(contract, classes_present=counter.present(), class_shares=shares)
    augmentation = Augmentation(
        jitter_px=data.jitter_px, crop_px=data.crop, flip=data.flip, seed=data.seed
    )
    sizes = {"train_pairs": len(pairs.train), "val_pairs": len(pairs.val)}
    val = PairDataset(pairs.val, contract)
    samples, mean_image_l1 = _scan_validation(val, data.samples, mean)
    return TrainingData(
        contract=contract,
        train=PairDataset(pairs.train, contract, augmentation),
        val=val,
        samples=samples,
        mean_image_l1=mean_image_l1,
        facts={"fingerprint": pairs.fingerprint, **sizes},
        palette_note=f"{pairs.roles}; {_note(source, contract)}",
    )


def _note(source: PairSource, contract: PixelContract) -> str:
    """Return what was found, with the largest classes: a wrong numbering shows in them."""
    note = source.note + ("; targets are grey, so outputs are" if contract.grey else "")
    if contract.palette is None or contract.class_shares is None:
        return note
    shares = np.mean(contract.class_shares, axis=0).tolist()
    by_share = sorted(zip(shares, contract.palette.classes, strict=True))[::-1]
    largest = ", ".join(f"{name} {share:.0%}" for share, name in by_share[:NOTED] if share)
    return f"{note}; {largest} ..."


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
) -> tuple[ClassCounter | None, torch.Tensor, bool]:
    """Read training pairs once.

    Returns:
        The inputs' classes; the mean photo, (3, H, W) in [-1, 1]; whether all photos are grey.
    """
    counter = None if palette is None else ClassCounter(palette)
    preprocess = replace(contract, palette=None).preprocess
    chosen = evenly_spread(len(pairs), MEAN_IMAGE_PAIRS if counter is None else MAX_INPUTS)
    total, count, grey = torch.zeros(()), 0, True
    for first in range(0, len(chosen), VALIDATION_BATCH):
        photos = []
        for index in chosen[first : first + VALIDATION_BATCH]:
            # Training puts a neighbour in the place of a pair that has gone, and counts it.
            with contextlib.suppress(ImageGoneError):
                if first < MEAN_IMAGE_PAIRS:
                    label, photo, *_ = read_pair(pairs[index], palette)
                    grey = grey and is_grey(photo, levels=0)
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
    return counter, total / count, grey


def _scan_validation(val: PairDataset, samples: int, mean: torch.Tensor) -> tuple[PairBatch, float]:
    """Read validation pairs once: evenly spread samples, and the L1 of all to the mean photo."""
    chosen, kept, distances = evenly_spread(len(val), samples), [], []
    for number, batch in enumerate(validation_batches(val, VALIDATION_BATCH)):
        distance = (to_signal(batch.target) - mean).abs()  # (n, 3, H, W)
        if batch.ignored is not None:
            distance = distance.masked_fill(batch.ignored[:, None], 0.0)
        distances.append(distance.mean(dim=(1, 2, 3)))  # (n,)
        first = number * VALIDATION_BATCH
        inside = [index - first for index in chosen if first <= index < first + len(batch.source)]
        kept.append(PairBatch(source=batch.source[inside], target=batch.target[inside]))
    return PairBatch.join(kept), float(torch.cat(distances).mean())


class ClassCounter:
    """Counts the classes of label maps, one map after the other.

    A data set lacks some classes of its palette, and blurred edges between two classes look like
    them. So in maps of exact colours every pixel counts, in blurred ones only solid neighbourhoods.
    """

    def __init__(self, palette: Palette) -> None:
        self._palette = palette
        self._found = np.zeros(len(palette.classes), bool)
        self._solid = np.zeros(len(palette.classes), np.int64)
        self._shares, self._maps = np.zeros((3, len(palette.classes))), 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count the classes of a label map, (H, W, 3) uint8 BGR."""
        ids = self._palette.to_ids(image)  # (H, W)
        self._shares += shares_of(ids, len(self._found))
        self._maps += 1
        if (self._palette.to_colours(ids) == image).all():
            self._found |= self._counts(ids) > 0
            return
        counts = self._counts(ids[solid_pixels(ids, 3)])
        self._found |= counts > SOLID_SHARE_OF_ONE * ids.size
        self._solid += counts

    def present(self) -> tuple[int, ...]:
        """Return the indices of the classes present, ascending; all of them if there are none."""
        found = self._found | (self._solid > SOLID_SHARE * self._solid.sum())
        return tuple(np.flatnonzero(found).tolist()) or tuple(range(len(found)))

    def shares(self) -> Shares:
        """Return the mean share of each class in the thirds of the maps, rounded."""
        return tuple(map(tuple, (self._shares / max(self._maps, 1)).round(4).tolist()))

    def _counts(self, ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(ids.ravel(), minlength=len(self._found))


def find_classes_present(pairs: Sequence[Pair], palette: Palette) -> tuple[int, ...]:
    """Return the indices of the classes that the inputs of ``pairs`` hold, ascending.

    Raises:
        DatasetError: an input is unreadable.
    """
    counter = ClassCounter(palette)
    for index in evenly_spread(len(pairs), MAX_INPUTS):
        with contextlib.suppress(ImageGoneError):  # training counts those that are missing
            counter.add(read_input(pairs[index].input, palette))
    return counter.present()


def solid_pixels(ids: NDArray[np.uint8], side_px: int) -> NDArray[np.bool_]:
    """Return which pixels of a class map (H, W) are the middle of a square of one class: (H, W)."""
    square = np.ones((side_px, side_px), np.uint8)
    return np.asarray(cv2.erode(ids, square) == cv2.dilate(ids, square))
