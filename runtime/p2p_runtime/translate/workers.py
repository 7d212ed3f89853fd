"""Several frames in work at the same time, with their results in order.

Two threads of one frame wait for each other between operators. On two cores, a worker each gives
1.2 to 1.5 times the frames a second, but each frame takes longer: right for files only.

Work on a frame has two steps. Preparing is mostly Python, which runs in one thread at a time, so
one worker does it for several frames in a row, while their code and tables are in the core's cache.
Finishing is mostly the engine, and runs in parallel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import cv2

from p2p_runtime.cpus import usable_cpus
from p2p_runtime.engines.base import is_server
from p2p_runtime.errors import ConfigError
from p2p_runtime.prefetch import FrameQueue, close_iterator
from p2p_runtime.video.frames import FrameTask

__all__ = ["Workers", "default_workers", "threads_per_worker", "use_one_opencv_thread"]

MAX_WORKERS = 4
"""Maximum number of workers. Each holds a frame's activations; more cores are better used as more
threads for each."""

IN_FLIGHT, IN_FLIGHT_LIVE = 4, 2
"""Number of requests to a server at the same time; live frames grow old while they wait."""


def use_one_opencv_thread() -> None:
    """Let OpenCV work in the calling thread only, in the whole process.

    Its own threads spin after each call: label repair of a 480x360 px frame costs 2.7 ms of CPU
    time with them and 1.7 ms without, on two cores, in the same wall time.
    """
    cv2.setNumThreads(1)


def default_workers(device: str, threads: int | None, *, live: bool = False) -> int:
    """Return the number of workers; a GPU, and a CPU with a live source, have one.

    ``threads`` is the number of CPU threads in all; None for all that this process may use.
    """
    if is_server(device):
        return IN_FLIGHT_LIVE if live else IN_FLIGHT
    parallel = device == "cpu" and not live
    return min(threads or usable_cpus(), MAX_WORKERS) if parallel else 1


def threads_per_worker(workers: int, threads: int | None) -> int | None:
    """Return the CPU threads of each worker; None leaves the choice to the engine.

    A ConfigError is raised if there are none.
    """
    if min(workers, 1 if threads is None else threads) < 1:
        raise ConfigError(f"workers {workers} and threads {threads}: give 1 or more of both")
    return threads if workers == 1 else max(1, (threads or usable_cpus()) // workers)


class Workers:
    """Threads that work on tasks; the block's value yields finished tasks in their order.

    An error in taking, preparing or finishing a task is raised where that task would have come.
    Leaving the block, early or not, ends all threads and closes the iterable if that can be closed.

    One worker at a time takes and prepares tasks, so many in a row; all finish them in parallel.
    No more are taken while ``ahead`` finished ones wait for the consumer. ``stopping`` is asked at
    least ten times a second; once it returns True, the iteration ends.
    """

    def __init__(
        self,
        tasks: Iterable[FrameTask],
        prepare: Callable[[FrameTask], None],
        finish: Callable[[FrameTask], None],
        *,
        workers: int,
        ahead: int,
        in_a_row: int = 1,
        stopping: Callable[[], bool] | None = None,
    ) -> None:
        self._tasks, self._prepare, self._finish = iter(tasks), prepare, finish
        self._workers, self._limit, self._in_a_row = workers, ahead + workers, in_a_row
        self._stopping = stopping
        # Every task that was taken and not yet given out; the first one may go once it is done.
        self._ordered: FrameQueue[FrameTask] = FrameQueue(ready=lambda task: task.done)
        self._prepared: FrameQueue[FrameTask] = FrameQueue()  # they wait for their second step
        self._preparing = self._exhausted = self._stopped = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Iterator[FrameTask]:
        owner = threading.current_thread().name
        try:
            for number in range(self._workers):
                name = f"{owner}/worker-{number}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
        except BaseException:  # the system has no more threads
            self.__exit__()
            raise
        return self._results()

    def __exit__(self, *error: object) -> None:
        self._stopped = True  # no worker starts another step
        self._prepared.close()
        for thread in self._threads:
            thread.join()
        close_iterator(self._tasks)

    def _run(self) -> None:
        """Work until nothing is left; the body of each thread."""
        while not self._prepared.ended:
            task = self._prepared.get(unless=self._becomes_preparer)
            if task is not None:
                _attempt(self._finish, task)
                task.done = True
                self._ordered.wake()
            elif not self._prepared.ended:
                self._prepare_row()

    def _results(self) -> Iterator[FrameTask]:
        for task in self._ordered.iterate(self._stopping):
            self._prepared.wake()  # there is room for another task
            if task.error is not None:
                raise task.error
            yield task

    def _becomes_preparer(self) -> bool:
        """Give the calling worker the preparing, if the others will soon have nothing to finish."""
        if self._preparing or self._exhausted or self._ordered.waiting >= self._limit:
            return False
        self._preparing = self._prepared.waiting < self._workers
        return self._preparing

    def _prepare_row(self) -> None:
        for task in self._take_row():
            if self._stopped:
                return
            _attempt(self._prepare, task)
            self._prepared.put(task)
        self._preparing = False
        if self._exhausted:
            self._prepared.end()

    def _take_row(self) -> list[FrameTask]:
        row: list[FrameTask] = []
        error: BaseException | None = None
        while len(row) < self._in_a_row and not (self._exhausted or self._stopped):
            try:
                row.append(next(self._tasks))
            except StopIteration:
                self._exhausted = True
            except BaseException as raised:  # it crosses to the consuming thread
                self._exhausted, error = True, raised
        for task in row:
            self._ordered.put(task)
        if self._exhausted:
            self._ordered.end(error)
        return row


def _attempt(step: Callable[[FrameTask], None], task: FrameTask) -> None:
    """Do a step, unless one before it failed; the task keeps an error for the consuming thread."""
    if task.error is None:
        try:
            step(task)
        except BaseException as error:
            task.error = error
