"""Several frames in work at the same time, with their results in order.

One frame on two threads keeps both waiting for each other between operators; two frames on one
thread each do not. On two cores, a worker each gives 1.2 to 1.5 times the frames a second, and
every single frame takes longer: right for files, wrong for live streams.

Work on a frame has two steps. Preparing is mostly Python, so two threads that prepare at once only
hold each other up: one worker at a time does it, for several frames in a row, while the frames'
code and tables are in the core's cache. Finishing is mostly the engine, and runs in parallel.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import cv2

from p2p_runtime.prefetch import FrameQueue, close_iterator

if TYPE_CHECKING:
    from p2p_runtime.video.frames import FrameTask

__all__ = [
    "MAX_WORKERS",
    "default_workers",
    "ordered_results",
    "threads_per_worker",
    "use_one_opencv_thread",
]

MAX_WORKERS = 4
"""Maximum number of workers. Each holds a frame's activations; more cores are better used as more
threads for each."""


def use_one_opencv_thread() -> None:
    """Let OpenCV work in the calling thread only, in the whole process.

    Its own threads spin for a moment after each call, which takes time from workers that keep every
    core busy: label repair of a 480x360 px frame costs 2.7 ms of CPU time with them and 1.7 ms
    without, on two cores, in the same wall time.
    """
    cv2.setNumThreads(1)


def default_workers(device: str, threads: int | None) -> int:
    """Return the number of workers for a file.

    Args:
        device: only ``cpu`` has more than one worker; a GPU works on one frame at a time.
        threads: CPU threads in all; None for every core that this process may use.
    """
    return min(threads or _cores(), MAX_WORKERS) if device == "cpu" else 1


def threads_per_worker(workers: int, threads: int | None) -> int | None:
    """Return the CPU threads of each worker; None leaves the choice to the engine."""
    return threads if workers == 1 else max(1, (threads or _cores()) // workers)


@contextlib.contextmanager
def ordered_results(
    tasks: Iterable[FrameTask],
    prepare: Callable[[FrameTask], None],
    finish: Callable[[FrameTask], None],
    *,
    workers: int,
    ahead: int,
    in_a_row: int = 1,
    stopping: Callable[[], bool] | None = None,
) -> Iterator[Iterator[FrameTask]]:
    """Work on tasks in threads and yield them in their order when they are finished.

    An error in taking, preparing or finishing a task is raised where that task would have come.
    Leaving the block, early or not, ends all threads and closes the iterable if that can be closed.

    Args:
        tasks: what to work on; never touched by two threads at a time.
        prepare: first step, by one worker at a time.
        finish: second step, by all workers in parallel.
        workers: number of threads.
        ahead: how many finished tasks may wait for the consumer before no more are taken.
        in_a_row: how many tasks a worker takes and prepares in a row.
        stopping: asked at least ten times a second; once it returns True, the iteration ends.
    """
    pool = _Workers(iter(tasks), prepare, finish, workers, limit=ahead + workers, in_a_row=in_a_row)
    threads = [
        threading.Thread(target=pool.run, name=f"worker-{number}", daemon=True)
        for number in range(workers)
    ]
    try:
        for thread in threads:
            thread.start()
        yield pool.results(stopping)
    finally:
        pool.stop()
        for thread in threads:
            if thread.ident is not None:  # a thread that could not be started ended the loop
                thread.join()
        pool.close()


class _Workers:
    """What the worker threads share.

    ``ordered`` holds every task that was taken and not yet given out; its first task may be taken
    once it is done. ``prepared`` holds those that wait for their second step.
    """

    def __init__(
        self,
        tasks: Iterator[FrameTask],
        prepare: Callable[[FrameTask], None],
        finish: Callable[[FrameTask], None],
        workers: int,
        *,
        limit: int,
        in_a_row: int,
    ) -> None:
        self._tasks, self._prepare, self._finish = tasks, prepare, finish
        self._workers, self._limit, self._in_a_row = workers, limit, in_a_row
        self._ordered: FrameQueue[FrameTask] = FrameQueue(ready=lambda task: task.done)
        self._prepared: FrameQueue[FrameTask] = FrameQueue()
        self._preparing = self._exhausted = self._stopped = False

    def run(self) -> None:
        """Work until nothing is left; the body of each thread."""
        while not self._prepared.ended:
            task = self._prepared.get(unless=self._becomes_preparer)
            if task is not None:
                _attempt(self._finish, task)
                task.done = True
                self._ordered.wake()
            elif not self._prepared.ended:
                self._prepare_row()

    def results(self, stopping: Callable[[], bool] | None) -> Iterator[FrameTask]:
        """Yield finished tasks in order, or raise their errors."""
        for task in self._ordered.iterate(stopping):
            self._prepared.wake()  # there is room for another task
            if task.error is not None:
                raise task.error
            yield task

    def stop(self) -> None:
        """Let no worker start another step."""
        self._stopped = True
        self._prepared.close()

    def close(self) -> None:
        """Close what yields the tasks; no worker runs any more."""
        close_iterator(self._tasks)

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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
