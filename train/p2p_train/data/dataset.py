"""From a pair on disk to uint8 pixels, fitted to the contract and augmented.

Augmentation is a function of (seed, epoch, pair), not of a generator's state, so that a resumed
run sees the same pixels whatever the number of workers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from p2p_runtime.model.contract import PixelContract

from .decode import ImageGoneError, read_pair
from .label_cache import LabelMemory
from .layouts import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Draw", "PairBatch", "PairDataset"]

STAND_INS = 8
"""Neighbours that are tried in place of a pair whose files have gone."""

Draw = tuple[int, int]
"""An (epoch, pair index): what the sampler yields and the data set reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBatch:
    """A batch of pairs.

    Attributes:
        source: the generator's inputs, (N, H, W, 3) uint8 BGR.
        target: the photos they should become, (N, H, W, 3) uint8 BGR.
        lost: what was said about each pair that another one stands in for.
    """

    source: torch.Tensor
    target: torch.Tensor
    lost: tuple[str, ...] = ()

    @classmethod
    def join(cls, batches: Sequence[PairBatch]) -> PairBatch:
        """Return one batch that holds the pairs of all ``batches``, in order."""
        return cls(
            source=torch.cat([batch.source for batch in batches]),
            target=torch.cat([batch.target for batch in batches]),
            lost=tuple(reason for batch in batches for reason in batch.lost),
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
    """Reads single pairs, fits them to the contract and, for training, augments them.

    Args:
        pairs: where the pairs lie.
        contract: how an input becomes the generator's input; the same as on the device.
        jitter_px: enlarge by so many pixels and crop at random (the paper, section 6.2: 286 to
            256); 0 for validation.
        flip: mirror half of the pairs.
        seed: decides crops and flips.
    """

    def __init__(
        self,
        pairs: tuple[Pair, ...],
        contract: PixelContract,
        *,
        jitter_px: int = 0,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        self._pairs = pairs
        self._contract = contract
        self._jitter_px = jitter_px
        self._flip = flip
        self._seed = seed
        enlarged = replace(
            contract, height=contract.height + jitter_px, width=contract.width + jitter_px
        )
        self._fit_input = enlarged.preprocess
        self._fit_target = replace(enlarged, palette=None).preprocess
        self._labels = None if contract.palette is None else LabelMemory(contract.palette)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, draw: Draw) -> PairBatch:
        """Return a batch of one pair.

        A pair whose files have gone is replaced by the next one that is there.

        Raises:
            DatasetError: a file is unreadable; the message names it.
        """
        epoch, index = draw
        source, target, lost = self._read(index)
        source = self._fit_label(index, source, keep=not lost)
        target = self._fit_target(target)
        chance = np.random.default_rng([self._seed, epoch, index])
        top, left = chance.integers(0, self._jitter_px, size=2, endpoint=True)
        window = np.s_[top : top + self._contract.height, left : left + self._contract.width]
        source, target = source[window], target[window]
        if self._flip and chance.random() < 0.5:
            source, target = _mirrored(source), _mirrored(target)
        return PairBatch(source=_batch_of_one(source), target=_batch_of_one(target), lost=lost)

    def _fit_label(self, index: int, label: NDArray[np.uint8], *, keep: bool) -> NDArray[np.uint8]:
        """Fit an input; one whose own files were there is fitted only the first time."""
        if self._labels is None or not keep:
            return self._fit_input(label)
        fitted = self._labels.recall(index)
        if fitted is None:
            fitted = self._fit_input(label)
            self._labels.keep(index, fitted)
        return fitted

    def _read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[str, ...]]:
        try:
            return *read_pair(self._pairs[index], self._contract.palette), ()
        except ImageGoneError as error:
            gone = error
        for step in range(1, STAND_INS + 1):
            neighbour = self._pairs[(index + step) % len(self._pairs)]
            with contextlib.suppress(ImageGoneError):
                return *read_pair(neighbour, self._contract.palette), (str(gone),)
        raise gone


def _mirrored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # OpenCV mirrors several times faster than a reversed NumPy view is copied.
    return np.asarray(cv2.flip(image, 1), np.uint8)


def _batch_of_one(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None]  # (1, H, W, 3)
