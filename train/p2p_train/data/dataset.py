"""The data set: from a pair on disk to preprocessed, augmented uint8 pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from p2p_runtime.model.contract import PixelContract

from .augment import Augmentation
from .decode import ImageGoneError, read_pair
from .label_cache import LabelCache
from .layouts import Pair

__all__ = ["PairBatch", "PairDataset", "PairKey"]

MAX_SUBSTITUTES = 8
"""Maximum number of neighbours that are tried in place of a pair whose files are gone."""

PairKey = tuple[int, int]
"""An (epoch, pair index): what the sampler yields and the data set takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBatch:
    """A batch of pairs.

    Attributes:
        source: the generator's inputs, (N, H, W, 3) uint8 BGR.
        target: the photos, (N, H, W, 3) uint8 BGR.
        missing: for each pair that another one replaces, the reason.
    """

    source: torch.Tensor
    target: torch.Tensor
    missing: tuple[str, ...] = ()

    @classmethod
    def join(cls, batches: Sequence[PairBatch]) -> PairBatch:
        """Return one batch with the pairs of all ``batches``, in order."""
        return cls(
            source=torch.cat([batch.source for batch in batches]),
            target=torch.cat([batch.target for batch in batches]),
            missing=tuple(reason for batch in batches for reason in batch.missing),
        )

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch on ``device``; the copy overlaps with work there if memory is pinned."""
        return replace(
            self,
            source=self.source.to(device, non_blocking=True),
            target=self.target.to(device, non_blocking=True),
        )

    def pin_memory(self) -> PairBatch:
        """Return the batch in page-locked memory; the data loader calls this."""
        return replace(self, source=self.source.pin_memory(), target=self.target.pin_memory())


class PairDataset(Dataset[PairBatch]):
    """Reads single pairs, preprocesses them by the contract and, for training, augments them.

    Args:
        pairs: the pairs on disk.
        contract: how an input becomes the generator's input; the same as on the device.
        augmentation: for training; by default none.
    """

    def __init__(
        self,
        pairs: tuple[Pair, ...],
        contract: PixelContract,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._pairs = pairs
        self._palette = contract.palette
        self._augmentation = augmentation or Augmentation()
        jitter_px = self._augmentation.jitter_px
        enlarged = replace(
            contract, height=contract.height + jitter_px, width=contract.width + jitter_px
        )
        self._preprocess_input = enlarged.preprocess
        self._preprocess_target = replace(enlarged, palette=None).preprocess
        self._labels = None if contract.palette is None else LabelCache(contract.palette)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, key: PairKey) -> PairBatch:
        """Return a batch of one pair.

        A pair whose files are gone is replaced by the next one that is there.

        Raises:
            DatasetError: a file is unreadable; the message names it.
        """
        epoch, index = key
        label, photo, missing = self._read(index)
        source = self._preprocess_label(index, label, cache=not missing)
        source, target = self._augmentation.apply(
            source, self._preprocess_target(photo), epoch, index
        )
        return PairBatch(
            source=_batch_of_one(source), target=_batch_of_one(target), missing=missing
        )

    def _preprocess_label(
        self, index: int, label: NDArray[np.uint8], *, cache: bool
    ) -> NDArray[np.uint8]:
        if self._labels is None or not cache:
            return self._preprocess_input(label)
        cached = self._labels.get(index)
        if cached is None:
            cached = self._preprocess_input(label)
            self._labels.put(index, cached)
        return cached

    def _read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[str, ...]]:
        try:
            return *read_pair(self._pairs[index], self._palette), ()
        except ImageGoneError as error:
            gone = error
        for step in range(1, MAX_SUBSTITUTES + 1):
            neighbour = self._pairs[(index + step) % len(self._pairs)]
            with contextlib.suppress(ImageGoneError):
                return *read_pair(neighbour, self._palette), (str(gone),)
        raise gone


def _batch_of_one(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None]  # (1, H, W, 3)
