"""Train a judge on real photos, offline: the whole story, a few minutes long."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from p2p_runtime.errors import ConfigError, DatasetError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision, TrainConfig
from p2p_train.data.dataset import PairDataset
from p2p_train.data.labels import open_source
from p2p_train.data.layouts import Pair
from p2p_train.metrics.frechet import FeatureStatistics, frechet_distance
from p2p_train.metrics.labels import IGNORED, LabelFidelity
from p2p_train.networks.pixels import to_signal
from p2p_train.precision import autocast

from .network import SegmentationNet
from .segmenter import Segmenter, label_ids, void_classes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["SegmenterConfig", "train_segmenter"]

logger = logging.getLogger(__name__)

MAX_PAIRS = 4000
"""Pairs kept decoded in memory, 200 kB each at 256 px; more photos teach a small judge little."""

MIN_PAIRS = 2
"""A Frechet distance compares covariances, which a single photo does not have."""

SOLID_PX = 5
SOLID_SHARE = 2e-4
"""A class is looked for when so many of all solid 5x5 px areas are of it."""

LARGEST_WEIGHT = 3.0
LINE_EVERY_S = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterConfig:
    """How to train a judge.

    Attributes:
        data: which pairs and how to read them; also the seed. The rest of it is not used.
        size_px: height and width that photos are brought to; a multiple of 32.
        epochs: passes over the training pairs.
        batch_size: pairs a step.
        lr: the highest step size of AdamW in its one cycle.
        width: channels of the network's first layer.
        precision: ``fp32``, or autocast to ``bf16``.
    """

    data: TrainConfig
    size_px: int = 256
    epochs: int = 10
    batch_size: int = 8
    lr: float = 3e-3
    width: int = 32
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.size_px < 32 or self.size_px % 32:
            raise ConfigError(f"a judge's size is a multiple of 32 px, not {self.size_px}")
        if self.precision == "fp16":  # its gradients would need scaling
            raise ConfigError("a judge is trained in fp32 or bf16")
        if self.epochs < 1 or self.batch_size < 1:
            raise ConfigError("epochs and batch-size of a judge must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Photos:
    """Decoded pairs: photos (N, H, W, 3) uint8 BGR, labels (N, H, W, 3) uint8 BGR, snapped."""

    photos: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def train_segmenter(config: SegmenterConfig, device: torch.device) -> Segmenter:
    """Teach a judge the classes of the training photos and score it on the validation photos.

    Raises:
        DatasetError: the pairs are missing, broken or too few.
        ConfigError: the inputs have no palette, so there are no classes.
    """
    # The photos and their classes
    source = open_source(config.data)
    if source.palette is None:
        raise ConfigError(f"a judge needs label maps: {source.note}")
    if min(len(source.pairs.train), len(source.pairs.val)) < MIN_PAIRS:
        raise DatasetError(
            f"a judge needs {MIN_PAIRS} pairs or more to learn from and {MIN_PAIRS} or more that "
            f"it has not seen; {config.data.data} has {len(source.pairs.train)} and "
            f"{len(source.pairs.val)}"
        )
    contract = PixelContract(height=config.size_px, width=config.size_px, palette=source.palette)
    train, val = _decode(source.pairs.train, contract), _decode(source.pairs.val, contract)
    classes = _solid_classes(train.labels, source.palette)
    ids = label_ids(train.labels, contract, classes)
    logger.info("%s; %d classes to find in %d photos", source.note, len(classes), len(ids))

    # The network and what pushes it
    torch.manual_seed(config.data.seed)
    network = SegmentationNet(classes=len(classes), width=config.width)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = _class_weights(ids, len(classes)).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=1e-3)
    steps = config.epochs * max(len(ids) // config.batch_size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=steps)
    chance = np.random.default_rng(config.data.seed)
    line_s = time.monotonic()

    for step, chosen in enumerate(_batches(len(ids), config, chance), start=1):
        # Every step
        signal, true = _augment(train.photos[chosen], ids[torch.from_numpy(chosen)], chance)
        with autocast(config.precision, device):
            logits = network(signal.to(device))
        loss = functional.cross_entropy(
            logits.float(), true.long().to(device), weights, ignore_index=IGNORED
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()

        # The tick
        if time.monotonic() - line_s >= LINE_EVERY_S or step == steps:
            line_s = time.monotonic()
            logger.info("judge: step %d/%d, loss %.3f", step, steps, float(loss.detach()))
    return _finished(network.eval(), config, classes, contract, train, val)


def _finished(
    network: SegmentationNet,
    config: SegmenterConfig,
    classes: tuple[int, ...],
    contract: PixelContract,
    train: _Photos,
    val: _Photos,
) -> Segmenter:
    """Put the judge together with its own scores on the real photos."""
    unscored = Segmenter(
        network=network,
        width=config.width,
        classes=classes,
        contract=contract,
        ceiling=LabelFidelity(pixel_accuracy=0.0, class_accuracy=0.0, mean_iou=0.0),
        photos=FeatureStatistics(mean=torch.zeros(1), covariance=torch.zeros(1, 1)),
        floor=0.0,
    )
    photos = FeatureStatistics.of(unscored.features(train.photos))
    unseen = FeatureStatistics.of(unscored.features(val.photos))
    return replace(
        unscored,
        ceiling=LabelFidelity.of(unscored.confusion(val.photos, val.labels)),
        photos=photos,
        floor=frechet_distance(photos, unseen),
    )


def _decode(pairs: tuple[Pair, ...], contract: PixelContract) -> _Photos:
    """Read pairs into memory, at most :data:`MAX_PAIRS`, spread evenly over all."""
    dataset = PairDataset(pairs, contract)
    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), MAX_PAIRS)).round().astype(int)
    shape = (len(chosen), contract.height, contract.width, 3)
    photos, labels = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for place, index in enumerate(chosen):
        pair = dataset[0, int(index)]
        photos[place], labels[place] = pair.target[0].numpy(), pair.source[0].numpy()
    return _Photos(photos=photos, labels=labels)


def _solid_classes(labels: NDArray[np.uint8], palette: Palette) -> tuple[int, ...]:
    """Return the classes that labels really show, as indices of the palette.

    The blurred edges of JPEG label maps snap to colours of classes that are not there; such pixels
    lie alone. So only a pixel in the middle of a 5x5 px area of its class speaks for it.
    """
    counts = np.zeros(256, np.int64)
    for label in labels:
        ids = palette.to_ids(label)
        windows = np.lib.stride_tricks.sliding_window_view(ids, (SOLID_PX, SOLID_PX))
        middle = ids[SOLID_PX // 2 : -(SOLID_PX // 2), SOLID_PX // 2 : -(SOLID_PX // 2)]
        solid = (windows == middle[..., None, None]).all(axis=(2, 3))
        counts += np.bincount(middle[solid], minlength=256)
    frequent = counts >= SOLID_SHARE * counts.sum()
    return tuple(int(i) for i in np.flatnonzero(frequent) if i not in void_classes(palette))


def _class_weights(ids: torch.Tensor, classes: int) -> torch.Tensor:
    """Return (classes,) loss weights: the fourth root of how much rarer than the average each is.

    Full balance would make the judge see riders everywhere; none would make it never see one.
    """
    counts = torch.bincount(ids.reshape(-1), minlength=256)[:classes].double().clamp(min=1)
    return (counts.mean() / counts).pow(0.25).clamp(max=LARGEST_WEIGHT).float()


def _batches(
    photos: int, config: SegmenterConfig, chance: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    size = min(config.batch_size, photos)
    for _ in range(config.epochs):
        order = chance.permutation(photos)
        for first in range(0, photos - size + 1, size):
            yield order[first : first + size]


def _augment(
    photos: NDArray[np.uint8], ids: torch.Tensor, chance: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half of the batches and vary contrast and brightness, as cameras do."""
    signal = to_signal(torch.from_numpy(photos))
    signal = signal * float(chance.uniform(0.8, 1.2)) + float(chance.uniform(-0.15, 0.15))
    if chance.random() < 0.5:
        signal, ids = signal.flip(3), ids.flip(2)
    return signal.contiguous(memory_format=torch.channels_last), ids
