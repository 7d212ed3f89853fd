"""Batches of pairs: their order, the processes that decode them, and missing files."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import statistics
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from p2p_runtime.cpus import usable_cpus
from p2p_runtime.errors import DatasetError, TrainingError

from .dataset import PairBatch, PairDataset, PairKey

__all__ = [
    "EpochSampler", "named_worker_failures", "training_batches", "validation_batches",
]  # fmt: skip

logger = logging.getLogger(__name__)

MAX_MISSING_SHARE = 0.01
"""Maximum share of the pairs that others may replace because their files are gone."""

THREADS_PAY_S = 0.002
"""CPU time of a pair above which threads save more than they cost in synchronisation."""

SIGNAL_WAIT_S = 1.0
"""Maximum time until the system reports a killed child process; the report ends the sleep."""

WORKER_KILLED = (
    "a process that decodes images was killed: by someone, or because memory or "
    "/dev/shm is full; a checkpoint that was written is kept (--resume). If it happens again, give "
    "fewer --workers (0 needs no /dev/shm) or a smaller --batch-size"
)


PREFETCHED = 4
"""Number of batches that a worker decodes ahead; they lie in shared memory."""

SHARED_MEMORY = Path("/dev/shm")
"""Where processes pass tensors to each other."""

LOADER_TIMEOUT_S = 600
"""Maximum time until a worker's batch comes."""

WORKER_SILENT = (
    f"no process that decodes images has delivered a batch for {LOADER_TIMEOUT_S} s: the disk or "
    "/dev/shm is full or very slow; go on with --resume and fewer --workers (0 needs no /dev/shm)"
)


class EpochSampler(Sampler[list[PairKey]]):
    """Yields the batches of all epochs, each in an order that follows from (seed, epoch).

    So a run can resume in the middle of one, after ``first_step`` steps; it stops before
    ``last_step``. The last, smaller batch of an epoch is skipped, unless it is the only one. Each
    of several processes yields its share of each batch.
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

    def batch_bytes(self, dataset: PairDataset) -> int:
        """Return the size of this process's share of a batch of inputs and photos, in bytes."""
        return len(range(self._batch_size)[self._share]) * dataset.pair_bytes

    def __iter__(self) -> Iterator[list[PairKey]]:
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

    Without workers, a batch is decoded between two steps, by one thread a core if its pairs take
    long enough. On a CPU this is cheaper than a worker, which takes a core from the networks.

    Raises:
        DatasetError: a file is unreadable, or too many are gone since the run began.
        TrainingError: a worker was killed.
    """
    workers = _workers_that_fit(workers, sampler.batch_bytes(dataset))
    with ThreadPoolExecutor(max_workers=usable_cpus()) as threads:
        loader = DataLoader(
            _LoaderDataset(dataset, None if workers else threads),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_join_or_error,
            pin_memory=pin_memory,
            prefetch_factor=PREFETCHED if workers else None,
            timeout=LOADER_TIMEOUT_S if workers else 0,
            generator=torch.Generator(),  # its own: only the networks use torch's default one
        )
        with contextlib.closing(_received(loader)) as received:  # ends the workers on an error, too
            yield from _checked(received, len(dataset))


def _workers_that_fit(workers: int, batch_bytes: int) -> int:
    """Return how many workers have room for their batches in shared memory, and say if fewer."""
    if workers == 0 or not SHARED_MEMORY.is_dir():
        return workers
    status = os.statvfs(SHARED_MEMORY)
    free = status.f_bavail * status.f_frsize
    enough = min(workers, free // (PREFETCHED * batch_bytes))
    if enough < workers:
        logger.warning(
            "%s has %d MB free, which is room for the batches of %d of %d --workers; going on with "
            "%d (Docker: --shm-size)",
            SHARED_MEMORY, free // 2**20, enough, workers, enough,
        )  # fmt: skip
    return enough


def validation_batches(dataset: PairDataset, batch_size: int) -> Iterator[PairBatch]:
    """Yield all pairs in order; the last batch may be smaller.

    Raises:
        DatasetError: a file is unreadable, or too many are gone since the run began.
    """
    places = range(len(dataset))
    parts = (places[first : first + batch_size] for first in places[::batch_size])
    batches = (PairBatch.join([dataset[0, index] for index in part]) for part in parts)
    yield from _checked(batches, len(dataset))


@contextlib.contextmanager
def named_worker_failures() -> Iterator[None]:
    """Turn torch's report of a killed worker into one line.

    Torch raises it from a signal handler, so that it can appear anywhere between two batches, too.

    Raises:
        TrainingError: a worker process ended without an error of its own.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error).startswith("DataLoader timed out"):
            raise TrainingError(WORKER_SILENT) from error
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise TrainingError(WORKER_KILLED) from error


def _received(
    loader: DataLoader[PairBatch | DatasetError],
) -> Generator[PairBatch | DatasetError, None, None]:
    with named_worker_failures():
        batches = iter(loader)
        while True:
            try:
                batch = next(batches, None)
            except (ConnectionError, EOFError, FileNotFoundError) as error:
                # A worker passes tensors through a socket, which breaks just before torch's handler
                # reports the end of the process: wait for that now, not during the clean-up.
                time.sleep(SIGNAL_WAIT_S)
                raise TrainingError(WORKER_KILLED) from error
            if batch is None:
                return
            yield batch


class _LoaderDataset(Dataset["PairBatch | DatasetError"]):
    """The data set with errors as values, since torch would wrap them in a page of traceback.

    With ``threads``, the pairs of a batch are read in parallel if those of the last took long.
    """

    def __init__(self, dataset: PairDataset, threads: Executor | None) -> None:
        self._dataset = dataset
        self._threads = threads
        self._pair_cpu_s = math.inf  # of the last batch's median pair; the first may be slow

    def __getitems__(self, keys: list[PairKey]) -> list[PairBatch | DatasetError]:
        """Return a batch's items; torch calls this in place of ``__getitem__``."""
        slow = self._pair_cpu_s > THREADS_PAY_S
        read = self._threads.map if slow and self._threads is not None else map
        timed = list(read(self._timed, keys))
        self._pair_cpu_s = statistics.median(cpu_s for _, cpu_s in timed)
        return [item for item, _ in timed]

    def _timed(self, key: PairKey) -> tuple[PairBatch | DatasetError, float]:
        started_s = time.thread_time()
        item: PairBatch | DatasetError
        try:
            item = self._dataset[key]
        except DatasetError as error:
            item = error
        return item, time.thread_time() - started_s


def _join_or_error(items: Sequence[PairBatch | DatasetError]) -> PairBatch | DatasetError:
    errors = [item for item in items if isinstance(item, DatasetError)]
    return errors[0] if errors else PairBatch.join([i for i in items if isinstance(i, PairBatch)])


def _checked(batches: Iterable[PairBatch | DatasetError], pairs: int) -> Iterator[PairBatch]:
    """Raise errors; warn of each missing file once, and stop when too many are missing."""
    read = missing = 0
    named: set[str] = set()
    for batch in batches:
        if isinstance(batch, DatasetError):
            raise batch
        read += len(batch.source)
        missing += len(batch.missing)
        for reason in set(batch.missing) - named:
            named.add(reason)
            logger.warning("%s any more; another pair replaces it", reason)
        # Each epoch meets a missing file once, so the share is one of whole epochs.
        epochs = math.ceil(read / pairs)
        if missing > MAX_MISSING_SHARE * pairs * epochs:
            raise DatasetError(
                f"{missing} of {read} pairs read since the run began had missing files, the last "
                f"one: {batch.missing[-1]}; restore them and continue with --resume"
            )
        yield batch
