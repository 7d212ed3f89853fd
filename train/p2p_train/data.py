"""From pairs on disk to batches of uint8 pixels.

Everything random here is a function of (seed, epoch, pair), not of a generator's state, so that a
resumed run sees the same batches whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from p2p_runtime.contract import PixelContract
from p2p_runtime.errors import DatasetError, TrainingError

from .decode import ImageGoneError, read_image, read_pair
from .labels import choose_palette
from .pairs import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "EpochSampler",
    "PairBatch",
    "PairDataset",
    "choose_palette",
    "named_worker_failures",
    "read_image",
    "training_batches",
    "validation_batches",
]

logger = logging.getLogger(__name__)

MOST_LOST = 0.01
"""Share of the draws that may be filled with other pairs because files have gone."""

STAND_INS = 8
"""Neighbours that are tried in place of a pair whose files have gone."""

HANDLER_S = 1.0
"""More than the system needs to tell of a child's death; a sleep ends as soon as it does."""

WORKER_KILLED = (
    "a process that decodes images was killed, most likely because memory ran out; the last "
    "checkpoint is kept: go on with --resume and fewer --workers or a smaller --batch-size"
)
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
        self._fit_input = enlarged.fit
        self._fit_target = replace(enlarged, palette=None).fit

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
        source, target = self._fit_input(source), self._fit_target(target)
        chance = np.random.default_rng([self._seed, epoch, index])
        top, left = chance.integers(0, self._jitter_px, size=2, endpoint=True)
        window = np.s_[top : top + self._contract.height, left : left + self._contract.width]
        source, target = source[window], target[window]
        if self._flip and chance.random() < 0.5:
            source, target = source[:, ::-1], target[:, ::-1]
        return PairBatch(source=_batch_of_one(source), target=_batch_of_one(target), lost=lost)

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


class EpochSampler(Sampler[list[Draw]]):
    """Yields the batches of all epochs, each epoch in an order of its own.

    The last, smaller batch of an epoch is left out, unless it is the only one.

    Args:
        pairs: how many pairs there are.
        batch_size: pairs a batch.
        seed: decides the orders.
        first_step: steps already taken, in all epochs together.
        last_step: stop before this step.
        rank, team_size: yield only this process's share of each batch.
    """

    def __init__(
        self,
        *,
        pairs: int,
        batch_size: int,
        seed: int,
        first_step: int,
        last_step: int,
        rank: int = 0,
        team_size: int = 1,
    ) -> None:
        self._pairs = pairs
        self._batch_size = min(batch_size, pairs)
        self._seed = seed
        self._steps = range(first_step, last_step)
        self._share = slice(rank, None, team_size)
        self.steps_per_epoch = pairs // self._batch_size

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self._steps:
            epoch, batch = divmod(step, self.steps_per_epoch)
            if batch == 0 or step == self._steps.start:
                order = np.random.default_rng([self._seed, epoch]).permutation(self._pairs)
            chosen = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield [(epoch, int(index)) for index in chosen[self._share]]


def training_batches(
    dataset: PairDataset, sampler: EpochSampler, *, workers: int, pin_memory: bool
) -> Iterator[PairBatch]:
    """Yield the batches of ``sampler``, decoded ahead in ``workers`` processes (0: in this one).

    Raises:
        DatasetError: a file is unreadable, or too many have gone since the run began.
        TrainingError: a worker was killed.
    """
    loader = DataLoader(
        _Guarded(dataset),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_join_or_error,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # its own: torch's must move only with the networks
    )
    tally = _LostPairs(len(dataset))
    for batch in _received(loader):
        if isinstance(batch, DatasetError):
            raise batch
        tally.count(batch)
        yield batch


def validation_batches(dataset: PairDataset, batch_size: int) -> Iterator[PairBatch]:
    """Yield all pairs in order; the last batch may be smaller.

    Raises:
        DatasetError: a file is unreadable, or too many have gone since the run began.
    """
    tally = _LostPairs(len(dataset))
    for first in range(0, len(dataset), batch_size):
        last = min(first + batch_size, len(dataset))
        batch = PairBatch.join([dataset[0, index] for index in range(first, last)])
        tally.count(batch)
        yield batch


@contextlib.contextmanager
def named_worker_failures() -> Iterator[None]:
    """Turn torch's report of a killed worker into one line.

    Torch raises it from a signal handler, so it can appear anywhere while a loader is in use: put
    everything that happens between batches inside.

    Raises:
        TrainingError: a worker process has ended without an error of its own.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise TrainingError(WORKER_KILLED) from error


def _received(
    loader: DataLoader[PairBatch | DatasetError],
) -> Iterator[PairBatch | DatasetError]:
    with named_worker_failures():
        batches = iter(loader)
        while True:
            try:
                batch = next(batches, None)
            except (ConnectionError, EOFError, FileNotFoundError) as error:
                # A worker hands tensors over a socket, which breaks just before torch's handler
                # reports its death: let that come now rather than in the middle of the clean-up.
                time.sleep(HANDLER_S)
                raise TrainingError(WORKER_KILLED) from error
            if batch is None:
                return
            yield batch


class _Guarded(Dataset["PairBatch | DatasetError"]):
    """Hands errors on as values, since torch would wrap them in a page of traceback."""

    def __init__(self, dataset: PairDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, draw: Draw) -> PairBatch | DatasetError:
        try:
            return self._dataset[draw]
        except DatasetError as error:
            return error


def _join_or_error(items: Sequence[PairBatch | DatasetError]) -> PairBatch | DatasetError:
    errors = [item for item in items if isinstance(item, DatasetError)]
    return errors[0] if errors else PairBatch.join([i for i in items if isinstance(i, PairBatch)])


class _LostPairs:
    """Counts the pairs that had to be replaced, says so, and stops when there are too many."""

    def __init__(self, pairs: int) -> None:
        self._pairs = pairs
        self._drawn = 0
        self._lost = 0
        self._named: set[str] = set()

    def count(self, batch: PairBatch) -> None:
        self._drawn += len(batch.source)
        self._lost += len(batch.lost)
        for reason in set(batch.lost) - self._named:
            self._named.add(reason)
            logger.warning("%s any more; another pair stands in for it", reason)
        # A file that has gone is met once an epoch, so whole epochs are what a share is told of.
        epochs = math.ceil(self._drawn / self._pairs)
        if self._lost > MOST_LOST * self._pairs * epochs:
            raise DatasetError(
                f"{self._lost} of {self._drawn} draws met files that have gone since the run "
                f"began, the last one: {batch.lost[-1]}; bring them back and go on with --resume"
            )


def _batch_of_one(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None]  # (1, H, W, 3)
