"""Several frames in work at the same time, and still in order.

One frame on two threads keeps both waiting for each other between operators; two frames on one
thread each do not. On two cores a lane each gives 1.2 to 1.5 times the frames a second, and every
single frame takes longer: right for files, wrong for live streams.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import cv2

from p2p_runtime.prefetch import POLL_S, close

__all__ = ["MAX_LANES", "Job", "in_lanes", "keep_to_lanes", "lanes_for", "threads_of_a_lane"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_LANES = 4
"""Each lane holds a frame's activations; beyond this, give a lane more threads."""


def keep_to_lanes() -> None:
    """Let OpenCV work in the thread that calls it, in the whole process.

    Its own threads spin for a moment after each call. In a pipeline that keeps every core busy that
    is time taken from the others: label repair of a 480x360 px frame cost 2.7 ms of CPU time
    with them and 1.7 without, on two cores, in the same wall time.
    """
    cv2.setNumThreads(1)


def lanes_for(device: str, threads: int | None) -> int:
    """Return how many lanes a file should be translated in.

    Args:
        device: only ``cpu`` has more than one: a GPU works on one frame at a time.
        threads: CPU threads in all; None for every core that this process may use.
    """
    return min(threads or _cores(), MAX_LANES) if device == "cpu" else 1


def threads_of_a_lane(lanes: int, threads: int | None) -> int | None:
    """Return the CPU threads of each lane; None leaves it to the engine."""
    return threads if lanes == 1 else max(1, (threads or _cores()) // lanes)


class Job(Protocol[T_co]):
    """Work in two steps, each done once, in this order, in any thread."""

    def prepare(self) -> None:
        """Do what several jobs do cheaper one after the other."""
        ...

    def finish(self) -> T_co:
        """Do the rest."""
        ...


@contextlib.contextmanager
def in_lanes(
    jobs: Iterable[Job[T]],
    lanes: int,
    *,
    ahead: int,
    together: int = 1,
    stopping: Callable[[], bool] | None = None,
) -> Iterator[Iterator[T]]:
    """Work through jobs in threads and give what they return, in order.

    A lane finishes what is prepared; when that runs short, it takes the next jobs and prepares
    them. Only one lane at a time does that: it is mostly Python, of which two threads at once only
    get in each other's way. An error in taking or in doing a job is raised where its result would
    have come. Leaving the block, early or not, leaves no thread, and closes the iterable if that
    can be closed.

    Args:
        jobs: what to work through; never two threads at a time touch it.
        lanes: how many threads.
        ahead: how many results may wait before no more jobs are taken.
        together: how many jobs a lane takes and prepares in a row.
        stopping: asked at least ten times a second; once true, the iteration ends.
    """
    work = _Work(iter(jobs), lanes, limit=ahead + lanes, together=together)
    threads = [
        threading.Thread(target=work.run, name=f"lane-{lane}", daemon=True) for lane in range(lanes)
    ]
    try:
        for thread in threads:
            thread.start()
        yield work.results(stopping or (lambda: False))
    finally:
        work.stop()
        for thread in threads:
            if thread.ident is not None:  # a thread that could not be started ended the loop
                thread.join()
        work.close()


class _Place(Generic[T]):
    """A job's place in the order of the results."""

    __slots__ = ("_error", "_job", "_result", "done")

    def __init__(self, job: Job[T] | None, error: BaseException | None = None) -> None:
        self._job, self._error = job, error
        self._result: T | None = None
        self.done = False

    def prepare(self) -> None:
        """Do the first step; an error is kept."""
        self._attempt(lambda job: job.prepare())

    def finish(self) -> None:
        """Do the second step, unless there was an error."""
        self._result = self._attempt(lambda job: job.finish())

    def result(self) -> T:
        """Return what the job returned, or raise what it, or taking it, raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # it is there, None or not

    def _attempt(self, step: Callable[[Job[T]], T | None]) -> T | None:
        if self._job is None or self._error is not None:
            return None
        try:
            return step(self._job)
        except BaseException as error:  # it crosses to the iterating thread
            self._error = error
            return None


class _Work(Generic[T]):
    """What the lanes share; everything but taking and doing jobs happens under one lock.

    Args:
        jobs: what to work through.
        lanes: how many there are.
        limit: of so many jobs that wait for anything, no more are taken.
        together: how many are taken in a row.
    """

    def __init__(self, jobs: Iterator[Job[T]], lanes: int, *, limit: int, together: int) -> None:
        self._jobs, self._lanes, self._limit, self._together = jobs, lanes, limit, together
        lock = threading.Lock()
        self._for_lanes, self._for_results = threading.Condition(lock), threading.Condition(lock)
        self._places: deque[_Place[T]] = deque()  # taken and not given out, in order
        self._prepared: deque[_Place[T]] = deque()
        self._preparing = False  # a lane is taking and preparing jobs
        self._ended = self._stopped = False

    def run(self) -> None:
        """Work, in the thread of a lane, until nothing is left."""
        while (place := self._next()) is not None:
            place.finish()
            with self._for_results:
                place.done = True
                if self._places[0] is place:
                    self._for_results.notify()

    def results(self, stopping: Callable[[], bool]) -> Iterator[T]:
        """Give the results in order."""
        while not stopping():
            with self._for_results:
                if not self._for_results.wait_for(self._first_is_known, POLL_S):
                    continue
                if not self._places:
                    return
                place = self._places.popleft()
                self._for_lanes.notify()
            yield place.result()

    def stop(self) -> None:
        """Let no lane begin anything more."""
        with self._for_lanes:
            self._stopped = True
            self._for_lanes.notify_all()

    def close(self) -> None:
        """Close what gave the jobs; no lane runs."""
        close(self._jobs)

    def _first_is_known(self) -> bool:
        """Tell whether the next result, or that there is none, is known."""
        if self._places:
            return self._places[0].done
        return self._ended

    def _next(self) -> _Place[T] | None:
        """Return a job to finish, waiting or preparing some; None when there will be none."""
        while True:
            with self._for_lanes:
                while not (self._stopped or self._prepared or self._should_prepare()):
                    if self._ended and not self._preparing:
                        return None
                    self._for_lanes.wait()
                if self._stopped:
                    return None
                if not self._should_prepare():
                    return self._prepared.popleft()
                self._preparing = True
            self._prepare(self._take())

    def _should_prepare(self) -> bool:
        """Tell whether the other lanes would soon have nothing to finish."""
        if self._preparing or self._ended or len(self._places) >= self._limit:
            return False
        return len(self._prepared) < self._lanes

    def _take(self) -> list[_Place[T]]:
        taken: list[_Place[T]] = []
        ended = False
        while len(taken) < self._together and not (ended or self._stopped):
            try:
                taken.append(_Place(next(self._jobs)))
            except StopIteration:
                ended = True
            except BaseException as error:  # it crosses to the iterating thread
                taken.append(_Place(None, error))
                ended = True
        with self._for_results:
            self._places.extend(taken)
            self._ended = ended
            self._for_results.notify()  # it may be that there is none
        return taken

    def _prepare(self, places: list[_Place[T]]) -> None:
        for place in places:
            if self._stopped:
                break
            place.prepare()
            with self._for_lanes:
                self._prepared.append(place)
                self._for_lanes.notify()
        with self._for_lanes:
            self._preparing = False
            self._for_lanes.notify_all()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
