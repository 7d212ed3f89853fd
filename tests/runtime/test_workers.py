"""Several at a time, in order, and no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from p2p_runtime.translate import workers as lanes
from p2p_runtime.translate.workers import MAX_LANES, in_lanes, lanes_for, threads_of_a_lane

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@dataclass(frozen=True)
class Numbered:
    """A job that knows its number."""

    number: int
    work: Callable[[int], int]
    early: Callable[[int], object] = id

    def prepare(self) -> None:
        """Do the first step."""
        self.early(self.number)

    def finish(self) -> int:
        """Do the second."""
        return self.work(self.number)


def jobs_of(
    count: int, work: Callable[[int], int], early: Callable[[int], object] = id
) -> Iterator[Numbered]:
    """Give so many jobs."""
    for number in range(count):
        yield Numbered(number, work, early)


def same(number: int) -> int:
    """Return what came."""
    return number


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_come_in_order(count: int, together: int) -> None:
    """Whichever is done first, the first comes first."""

    def work(number: int) -> int:
        time.sleep(0.005 if number % 2 == 0 else 0)
        return number

    with in_lanes(jobs_of(30, work), count, ahead=3, together=together) as results:
        assert list(results) == list(range(30))


@pytest.mark.parametrize("together", [1, 3])
def test_every_job_is_prepared_once_and_then_finished(together: int) -> None:
    """Both steps of each job are done, in this order, whichever lane does them."""
    steps: list[tuple[str, int]] = []

    def work(number: int) -> int:
        steps.append(("finish", number))
        return number

    jobs = jobs_of(200, work, lambda number: steps.append(("prepare", number)))
    with in_lanes(jobs, 3, ahead=2, together=together) as results:
        assert list(results) == list(range(200))
    assert len(steps) == 400
    for number in range(200):
        assert steps.index(("prepare", number)) < steps.index(("finish", number))


def test_jobs_are_prepared_in_a_row() -> None:
    """One lane prepares as many as it was told to before it finishes one."""
    steps: list[str] = []

    def work(number: int) -> int:
        steps.append(f"finish {number}")
        return number

    jobs = jobs_of(6, work, lambda number: steps.append(f"prepare {number}"))
    with in_lanes(jobs, 1, ahead=9, together=3) as results:
        assert list(results) == list(range(6))
    row = [f"{step} {number}" for step in ("prepare", "finish") for number in range(3)]
    assert steps[:6] == row


def test_lanes_work_at_the_same_time() -> None:
    """Two jobs that wait for each other both end."""
    meeting = threading.Barrier(2, timeout=30)

    def work(number: int) -> int:
        meeting.wait()
        return number

    with in_lanes(jobs_of(8, work), 2, ahead=2) as results:
        assert len(list(results)) == 8


def test_one_lane_finishes_what_another_prepared() -> None:
    """All of a row of jobs is in work, though one lane took it."""
    meeting = threading.Barrier(4, timeout=30)

    def work(number: int) -> int:
        meeting.wait()
        return number

    with in_lanes(jobs_of(4, work), 4, ahead=4, together=4) as results:
        assert list(results) == [0, 1, 2, 3]


@pytest.mark.parametrize("step", ["prepare", "finish"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_in_its_place(count: int, step: str) -> None:
    """What came before it is given, and it is raised to whoever iterates."""

    def failing(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    steps = (same, failing) if step == "prepare" else (failing, id)
    got: list[int] = []
    with (
        pytest.raises(ValueError, match="five"),
        in_lanes(jobs_of(50, *steps), count, ahead=2, together=2) as results,
    ):
        for number in results:
            got.append(number)
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("together", [1, 2, 8])
@pytest.mark.parametrize("count", [1, 3])
def test_an_error_in_taking_comes_in_its_place(count: int, together: int) -> None:
    """The jobs that were taken before it are done, and their results given."""

    def broken() -> Iterator[Numbered]:
        yield from jobs_of(5, same)
        raise ValueError("no more")

    got: list[int] = []
    with (
        pytest.raises(ValueError, match="no more"),
        in_lanes(broken(), count, ahead=2, together=together) as results,
    ):
        for number in results:
            got.append(number)
    assert got == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 2])
def test_leaving_early_begins_no_more_jobs(count: int) -> None:
    """What is in work is finished; what waits for a lane is not begun."""
    begun, release = [], threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            release.wait()
        return number

    with in_lanes(jobs_of(1000, work), count, ahead=4, together=3) as results:
        assert next(results) == 0
        while len(begun) <= count:
            time.sleep(0.01)
        threading.Timer(1, release.set).start()  # when the block has long been left
    assert begun == [0, 1, 2][: count + 1]


def test_leaving_closes_what_gives_the_jobs() -> None:
    """A file that they come from is not left open."""
    closed = []

    def jobs() -> Iterator[Numbered]:
        try:
            yield from jobs_of(1000, same)
        finally:
            closed.append(threading.current_thread())

    with in_lanes(jobs(), 2, ahead=2) as results:
        next(results)
    assert closed == [threading.current_thread()]


@pytest.mark.parametrize(("count", "together"), [(1, 1), (2, 1), (2, 4)])
def test_no_more_is_taken_than_is_asked_for(count: int, together: int) -> None:
    """Whoever does not fetch results holds the jobs back."""
    taken = []

    def jobs() -> Iterator[Numbered]:
        for job in jobs_of(1000, same):
            taken.append(job.number)
            yield job

    with in_lanes(jobs(), count, ahead=3, together=together) as results:
        next(results)
        time.sleep(0.3)
        assert len(taken) <= 1 + 3 + count + together - 1
        assert len(taken) >= 3 + count


def test_stopping_ends_the_iteration() -> None:
    """Though the job that it waits for takes longer."""
    stop, release = threading.Event(), threading.Event()

    def work(number: int) -> int:
        stop.set()
        release.wait()
        return number

    with in_lanes(jobs_of(3, work), 2, ahead=2, stopping=stop.is_set) as results:
        assert list(results) == []
        release.set()


def test_only_a_cpu_has_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a thread, a few at most; a GPU has one."""
    monkeypatch.setattr(lanes, "_cores", lambda: 2)
    assert [lanes_for("cpu", threads) for threads in (None, 1, 2, 64)] == [2, 1, 2, MAX_LANES]
    assert lanes_for("cuda", None) == 1


def test_lanes_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more threads than there are, at least one a lane; a single lane has what was asked for."""
    monkeypatch.setattr(lanes, "_cores", lambda: 8)
    assert [threads_of_a_lane(4, threads) for threads in (None, 8, 6, 2)] == [2, 2, 1, 1]
    assert [threads_of_a_lane(1, threads) for threads in (None, 3)] == [None, 3]
