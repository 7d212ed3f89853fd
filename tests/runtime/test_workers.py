"""Several frames at a time, in order, and no thread is left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import pytest

from p2p_runtime.errors import ConfigError
from p2p_runtime.translate.workers import (
    MAX_WORKERS,
    Workers,
    default_workers,
    threads_per_worker,
)
from p2p_runtime.video.frames import FrameTask

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Step = Callable[[int], object]
PICTURE = np.zeros((1, 1, 3), np.uint8)


def tasks_of(count: int) -> Iterator[FrameTask]:
    """Yield so many frames."""
    for number in range(count):
        yield FrameTask(picture=PICTURE, index=number)


def working(
    tasks: Iterable[FrameTask],
    workers: int,
    finish: Step = id,
    prepare: Step = id,
    *,
    ahead: int = 2,
    in_a_row: int = 1,
    stopping: Callable[[], bool] | None = None,
) -> AbstractContextManager[Iterator[FrameTask]]:
    """Work on tasks with steps that get their numbers."""
    return Workers(
        tasks,
        lambda task: prepare(task.index),
        lambda task: finish(task.index),
        workers=workers,
        ahead=ahead,
        in_a_row=in_a_row,
        stopping=stopping,
    )


def numbers(results: Iterable[FrameTask]) -> list[int]:
    """Return the numbers of finished tasks."""
    return [task.index for task in results]


@pytest.mark.parametrize("in_a_row", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_come_in_order(count: int, in_a_row: int) -> None:
    """Whichever is finished first, the first comes first."""

    def work(number: int) -> int:
        time.sleep(0.005 if number % 2 == 0 else 0)
        return number

    with working(tasks_of(30), count, work, ahead=3, in_a_row=in_a_row) as results:
        assert numbers(results) == list(range(30))


@pytest.mark.parametrize("in_a_row", [1, 3])
def test_every_task_is_prepared_once_and_then_finished(in_a_row: int) -> None:
    """Both steps of each task are done once, in this order, by whichever worker."""
    steps: list[tuple[str, int]] = []

    def work(number: int) -> int:
        steps.append(("finish", number))
        return number

    def prepare(number: int) -> None:
        steps.append(("prepare", number))

    with working(tasks_of(200), 3, work, prepare, in_a_row=in_a_row) as results:
        assert numbers(results) == list(range(200))
    assert len(steps) == 400
    for number in range(200):
        assert steps.index(("prepare", number)) < steps.index(("finish", number))


def test_tasks_are_prepared_in_a_row() -> None:
    """A worker prepares as many as it was told to before it finishes one."""
    steps: list[str] = []

    def work(number: int) -> int:
        steps.append(f"finish {number}")
        return number

    def prepare(number: int) -> None:
        steps.append(f"prepare {number}")

    with working(tasks_of(6), 1, work, prepare, ahead=9, in_a_row=3) as results:
        assert numbers(results) == list(range(6))
    row = [f"{step} {number}" for step in ("prepare", "finish") for number in range(3)]
    assert steps[:6] == row


def test_workers_work_at_the_same_time() -> None:
    """Two tasks that wait for each other both end."""
    meeting = threading.Barrier(2, timeout=30)

    def work(number: int) -> int:
        meeting.wait()
        return number

    with working(tasks_of(8), 2, work, ahead=2) as results:
        assert len(list(results)) == 8


def test_one_worker_finishes_what_another_prepared() -> None:
    """All of a row is in work although one worker took it."""
    meeting = threading.Barrier(4, timeout=30)

    def work(number: int) -> int:
        meeting.wait()
        return number

    with working(tasks_of(4), 4, work, ahead=4, in_a_row=4) as results:
        assert numbers(results) == [0, 1, 2, 3]


@pytest.mark.parametrize("step", ["prepare", "finish"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_in_its_place(count: int, step: str) -> None:
    """What came before it is yielded, and it is raised to the consumer."""

    def failing(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    steps = (id, failing) if step == "prepare" else (failing, id)
    got: list[int] = []
    with (
        pytest.raises(ValueError, match="five"),
        working(tasks_of(50), count, *steps, in_a_row=2) as results,
    ):
        for task in results:
            got.append(task.index)
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("in_a_row", [1, 2, 8])
@pytest.mark.parametrize("count", [1, 3])
def test_an_error_in_taking_comes_in_its_place(count: int, in_a_row: int) -> None:
    """The tasks that were taken before it are finished and yielded."""

    def broken() -> Iterator[FrameTask]:
        yield from tasks_of(5)
        raise ValueError("no more")

    got: list[int] = []
    with (
        pytest.raises(ValueError, match="no more"),
        working(broken(), count, in_a_row=in_a_row) as results,
    ):
        for task in results:
            got.append(task.index)
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 2])
def test_leaving_early_starts_no_more_tasks(count: int) -> None:
    """What is in work is finished; what waits for a worker is not started."""
    started, release = [], threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if number:
            release.wait()
        return number

    with working(tasks_of(1000), count, work, ahead=4, in_a_row=3) as results:
        assert next(results).index == 0
        while len(started) <= count:
            time.sleep(0.01)
        threading.Timer(1, release.set).start()  # when the block has long been left
    assert started == [0, 1, 2][: count + 1]


def test_leaving_closes_what_yields_the_tasks() -> None:
    """A file that they come from is not left open."""
    closed = []

    def tasks() -> Iterator[FrameTask]:
        try:
            yield from tasks_of(1000)
        finally:
            closed.append(threading.current_thread())

    with working(tasks(), 2) as results:
        next(results)
    assert closed == [threading.current_thread()]


@pytest.mark.parametrize(("count", "in_a_row"), [(1, 1), (2, 1), (2, 4)])
def test_no_more_is_taken_than_is_asked_for(count: int, in_a_row: int) -> None:
    """A consumer that takes no results holds the workers back."""
    taken = []

    def tasks() -> Iterator[FrameTask]:
        for task in tasks_of(1000):
            taken.append(task.index)
            yield task

    with working(tasks(), count, ahead=3, in_a_row=in_a_row) as results:
        next(results)
        time.sleep(0.3)
        assert len(taken) <= 1 + 3 + count + in_a_row - 1
        assert len(taken) >= 3 + count


def test_stopping_ends_the_iteration() -> None:
    """It ends although the task that it waits for takes longer."""
    stop, release = threading.Event(), threading.Event()

    def work(number: int) -> int:
        stop.set()
        release.wait()
        return number

    with working(tasks_of(3), 2, work, ahead=2, stopping=stop.is_set) as results:
        assert list(results) == []
        release.set()


def use_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let this process have so many cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)


def test_only_a_cpu_has_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each thread, four at most; a GPU has one."""
    use_cores(monkeypatch, 2)
    assert [default_workers("cpu", n) for n in (None, 1, 2, 64)] == [2, 1, 2, MAX_WORKERS]
    assert default_workers("cuda", None) == 1


def test_workers_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than there are and at least one each; a single worker has what was asked for."""
    use_cores(monkeypatch, 8)
    assert [threads_per_worker(4, threads) for threads in (None, 8, 6, 2)] == [2, 2, 1, 1]
    assert [threads_per_worker(1, threads) for threads in (None, 3)] == [None, 3]
    for none in ((0, None), (-1, 4), (1, 0)):
        with pytest.raises(ConfigError, match="give 1 or more of both"):
            threads_per_worker(*none)
