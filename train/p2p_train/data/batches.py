"""Batches of pairs: their order, the processes that decode them, and what becomes of losses.

Each epoch's order is a function of (seed, epoch), so that a resumed run goes on in the middle of
one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from p2p_runtime.errors import DatasetError, TrainingError

from .dataset import Draw, PairBatch, PairDataset

__all__ = [
    "EpochSampler",
    "named_worker_failures",
    "spread_batches",
    "training_batches",
    "validation_batches",
]

logger = logging.getLogger(__name__)

MOST_LOST = 0.01
"""Share of the draws that may be filled with other pairs because files have gone."""

THREADS_PAY_S = 0.002
"""CPU time of a pair above which threads save more than they cost in waiting for each other."""

HANDLER_S = 1.0
"""More than the system needs to tell of a child's death; a sleep ends as soon as it does."""

WORKER_KILLED = (
    "a process that decodes images was killed, most likely because memory ran out; the last "
    "checkpoint is kept: go on with --resume and fewer --workers or a smaller --batch-size"
)


class EpochSampler(Sampler[list[Draw]]):
    """Yields the batches of all epochs, each epoch in an order of its own.

    The last, smaller batch of an epoch is left out, unless it is the only one.

    Args:
        pairs: how many pairs there are.
        batch_size: pairs a batch.
        seed: decides the orders.
        first_step: steps already taken, in all epochs together.
        last_step: stop before this step.
        rank, world_size: yield only this process's share of each batch.
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
        world_size: int = 1,
    ) -> None:
        self._pairs = pairs
        self._batch_size = min(batch_size, pairs)
        self._seed = seed
        self._steps = range(first_step, last_step)
        self._share = slice(rank, None, world_size)
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
    """Yield the batches of ``sampler``, decoded ahead in ``workers`` processes.

    Without workers, a batch is decoded between two steps, by as many threads as there are cores
    while its pairs take long enough for that to pay. Where the networks run on those cores, too,
    that is cheaper: a process that decodes meanwhile takes a core from a computation that waits
    for both, and its pixels must be copied over.

    Raises:
        DatasetError: a file is unreadable, or too many have gone since the run began.
        TrainingError: a worker was killed.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        guarded = _Guarded(dataset, None if workers else threads)
        yield from _counted(dataset, _loader(guarded, sampler, workers, pin_memory))


def _loader(
    dataset: _Guarded, sampler: EpochSampler, workers: int, pin_memory: bool
) -> DataLoader[PairBatch | DatasetError]:
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_join_or_error,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # its own: torch's must move only with the networks
    )


def _counted(
    dataset: PairDataset, loader: DataLoader[PairBatch | DatasetError]
) -> Iterator[PairBatch]:
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


def spread_batches(dataset: PairDataset, count: int, batch_size: int) -> Iterator[PairBatch]:
    """Yield about ``count`` pairs from all over the data set, always the same, in full batches.

    Raises:
        DatasetError: a file is unreadable, or too many have gone since the run began.
    """
    count, batch_size = min(count, len(dataset)), min(batch_size, count, len(dataset))
    chosen = [index * len(dataset) // count for index in range(count)]
    tally = _LostPairs(len(dataset))
    for first in range(0, count - batch_size + 1, batch_size):
        batch = PairBatch.join([dataset[0, index] for index in chosen[first : first + batch_size]])
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
    """Hands errors on as values, since torch would wrap them in a page of traceback.

    Args:
        dataset: what is read.
        threads: read the pairs of a batch side by side, if the last batch's took long; None for
            always one after the other.
    """

    def __init__(self, dataset: PairDataset, threads: Executor | None) -> None:
        self._dataset = dataset
        self._threads = threads
        self._pair_cpu_s = math.inf  # of the last batch's median pair; the first may be slow

    def __getitems__(self, draws: list[Draw]) -> list[PairBatch | DatasetError]:
        """Return a batch's items; torch calls this in the place of ``__getitem__``."""
        slow = self._pair_cpu_s > THREADS_PAY_S
        read = self._threads.map if slow and self._threads is not None else map
        timed = list(read(self._timed, draws))
        self._pair_cpu_s = statistics.median(cpu_s for _, cpu_s in timed)
        return [item for item, _ in timed]

    def __getitem__(self, draw: Draw) -> PairBatch | DatasetError:
        try:
            return self._dataset[draw]
        except DatasetError as error:
            return error

    def _timed(self, draw: Draw) -> tuple[PairBatch | DatasetError, float]:
        started_s = time.thread_time()
        item = self[draw]
        return item, time.thread_time() - started_s


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
