"""Train a segmenter on the real photos of a data set: the whole story, a few minutes long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from p2p_runtime.errors import ConfigError, DatasetError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig, Precision
from p2p_train.data.dataset import PairDataset
from p2p_train.data.labels import PairSource, open_pairs
from p2p_train.data.layouts.images import Pair
from p2p_train.data.layouts.index import evenly_spread
from p2p_train.data.prepare import solid_pixels
from p2p_train.devices import autocast
from p2p_train.metrics.evaluator import (
    IGNORED,
    FeatureStatistics,
    SegmentationScore,
    frechet_distance,
)
from p2p_train.networks.pixels import to_signal

from .segmenter import SegmentationNet, Segmenter, label_ids, void_classes

__all__ = ["SegmenterConfig", "SegmenterData", "read_data", "solid_classes", "train_segmenter"]

logger = logging.getLogger(__name__)

MAX_PAIRS = 4000
"""Maximum number of pairs, kept decoded in memory at 400 kB each for 256 px."""

MIN_PAIRS = 2
"""Minimum number of pairs: a Frechet distance compares covariances, which one photo lacks."""

SOLID_PX = 5
"""Side of the areas that count as solid if they hold one class only."""

SOLID_SHARE = 2e-4
"""Minimum share of all solid areas, for a class to be learned."""

MAX_CLASS_WEIGHT = 3.0
LINE_EVERY_S = 15.0

Photos = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Decoded photos and their exact label maps, (N, H, W, 3) uint8 BGR each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterConfig:
    """Settings of a segmenter's training.

    Attributes:
        data: the pairs and how to read them; also the random seed. The rest of it has no effect.
        size: width and height in pixels that photos are resized to; multiples of 32.
        lr: the highest step size of AdamW in its one cycle.
        width: channels of the network's first layer.
    """

    data: DataConfig
    size: tuple[int, int] = (256, 256)
    epochs: int = 10
    batch_size: int = 8
    lr: float = 3e-3
    width: int = 32
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if any(side < 32 or side % 32 for side in self.size):
            width, height = self.size
            raise ConfigError(f"a segmenter's sides are multiples of 32 px, not {width}x{height}")
        if self.precision == "fp16":  # its gradients would need scaling
            raise ConfigError("a segmenter is trained in fp32 or bf16")
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError("epochs and batch-size of a segmenter must be at least 1")


class SegmenterData(NamedTuple):
    """The pairs of a segmenter's training, decoded, and a sentence on them."""

    contract: PixelContract
    train: Photos
    val: Photos
    note: str


def read_data(config: SegmenterConfig) -> SegmenterData:
    """Decode the pairs that ``config`` describes.

    Raises:
        DatasetError: the pairs are missing, broken or too few.
        ConfigError: the inputs have no palette, so there are no classes.
    """
    source = open_pairs(config.data)
    if config.data.palette != "auto":
        source.check_palette()
    palette = _check_source(source, config)
    contract = PixelContract(height=config.size[1], width=config.size[0], palette=palette)
    train, val = (_decode(pairs, contract) for pairs in (source.pairs.train, source.pairs.val))
    return SegmenterData(contract, train, val, source.note)


def train_segmenter(
    config: SegmenterConfig, device: torch.device, data: SegmenterData | None = None
) -> Segmenter:
    """Train a segmenter on the training photos and score it on the validation photos.

    Without ``data``, the pairs are those of ``config``; for errors, see :func:`read_data`.
    """
    # The photos and their classes
    contract, (photos, labels), val, note = data or read_data(config)
    assert contract.palette is not None, "read_data refuses others"
    classes = solid_classes(labels, contract.palette)
    ids = label_ids(labels, contract, classes)  # (N, H / 2, W / 2)
    logger.info("%s; %d classes to find in %d photos", note, len(classes), len(ids))

    # The network and its optimiser
    torch.manual_seed(config.data.seed)
    network = SegmentationNet(classes=len(classes), width=config.width)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no overload for both
    weights = _class_weights(ids, len(classes)).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=1e-3)
    steps = config.epochs * max(len(ids) // config.batch_size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=steps)
    rng = np.random.default_rng(config.data.seed)
    line_s = time.monotonic()

    for step, chosen in enumerate(_batches(len(ids), config, rng), start=1):
        # Every step
        signal, true = _augment(photos[chosen], ids[torch.from_numpy(chosen)], rng)
        with autocast(config.precision, device):
            logits = network(signal.to(device))  # (N, classes, H / 2, W / 2)
        loss = functional.cross_entropy(
            logits.float(), true.long().to(device), weights, ignore_index=IGNORED
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
        schedule.step()

        # The tick
        if time.monotonic() - line_s >= LINE_EVERY_S or step == steps:
            line_s = time.monotonic()
            logger.info("segmenter: step %d/%d, loss %.3f", step, steps, float(loss.detach()))
    return _scored(network.eval(), classes, contract, photos, val)


def _check_source(source: PairSource, config: SegmenterConfig) -> Palette:
    if source.palette is None:
        raise ConfigError(f"a segmenter needs label maps: {source.note}")
    train, val = len(source.pairs.train), len(source.pairs.val)
    if min(train, val) < MIN_PAIRS:
        raise DatasetError(
            f"a segmenter needs {MIN_PAIRS} pairs or more for training and {MIN_PAIRS} or more for "
            f"validation; {config.data.folder} has {train} and {val}"
        )
    return source.palette


def _scored(
    network: SegmentationNet,
    classes: tuple[int, ...],
    contract: PixelContract,
    photos: NDArray[np.uint8],
    val: Photos,
) -> Segmenter:
    """Return the segmenter with its own scores on the real photos."""
    unscored = Segmenter(
        network=network,
        classes=classes,
        contract=contract,
        photo_score=SegmentationScore(pixel_accuracy=0.0, class_accuracy=0.0, mean_iou=0.0),
        photo_features=FeatureStatistics(mean=torch.zeros(1), covariance=torch.zeros(1, 1)),
        photo_distance=0.0,
    )
    seen = FeatureStatistics.of(unscored.features(photos))
    unseen = FeatureStatistics.of(unscored.features(val[0]))
    return replace(
        unscored,
        photo_score=SegmentationScore.of(unscored.confusion(*val)),
        photo_features=seen,
        photo_distance=frechet_distance(seen, unseen),
    )


def _decode(pairs: tuple[Pair, ...], contract: PixelContract) -> Photos:
    """Read pairs into memory, at most :data:`MAX_PAIRS`, spread evenly over all."""
    dataset = PairDataset(pairs, contract)
    chosen = evenly_spread(len(pairs), MAX_PAIRS)
    shape = (len(chosen), contract.height, contract.width, 3)
    photos, labels = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for place, index in enumerate(chosen):
        pair = dataset[0, index]
        photos[place], labels[place] = pair.target[0].numpy(), pair.source[0].numpy()
    return photos, labels


def solid_classes(labels: NDArray[np.uint8], palette: Palette) -> tuple[int, ...]:
    """Return the palette indices of the classes that label maps hold, without void ones.

    Pixels of blurred edges in JPEG label maps, (N, H, W, 3) uint8 BGR, can be nearest to colours of
    absent classes, but they stand alone. So only the middle of a 5x5 px area of one class counts.
    """
    counts = np.zeros(256, np.int64)
    inner = np.s_[2:-2, 2:-2]
    for label in labels:
        ids = palette.to_ids(label)  # (H, W)
        counts += np.bincount(ids[inner][solid_pixels(ids, SOLID_PX)[inner]], minlength=256)
    frequent = counts >= SOLID_SHARE * counts.sum()
    return tuple(int(i) for i in np.flatnonzero(frequent) if i not in void_classes(palette))


def _class_weights(ids: torch.Tensor, classes: int) -> torch.Tensor:
    """Return (classes,) loss weights: the fourth root of each class's rarity to the average.

    With full balance rare classes would be found everywhere, without any they would not be found.
    """
    counts = torch.bincount(ids.reshape(-1), minlength=256)[:classes].double().clamp(min=1)
    return (counts.mean() / counts).pow(0.25).clamp(max=MAX_CLASS_WEIGHT).float()


def _batches(
    photos: int, config: SegmenterConfig, rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    size = min(config.batch_size, photos)
    for _ in range(config.epochs):
        order = rng.permutation(photos)
        for first in range(0, photos - size + 1, size):
            yield order[first : first + size]


def _augment(
    photos: NDArray[np.uint8], ids: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half of the batches and vary contrast and brightness, as cameras do."""
    signal = to_signal(torch.from_numpy(photos))  # (N, 3, H, W)
    signal = signal * float(rng.uniform(0.8, 1.2)) + float(rng.uniform(-0.15, 0.15))
    if rng.random() < 0.5:
        signal, ids = signal.flip(3), ids.flip(2)
    return signal.contiguous(memory_format=torch.channels_last), ids
