"""Several at a time, in order, and no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from p2p_runtime import lanes
from p2p_runtime.lanes import MAX_LANES, in_lanes, lanes_for, threads_of_a_lane

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def jobs_of(count: int, work: Callable[[int], int]) -> Iterator[Callable[[], int]]:
    """Give so many jobs."""
    for number in range(count):
        yield partial(work, number)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_come_in_order(count: int) -> None:
    """Whichever is done first, the first comes first."""

    def work(number: int) -> int:
        time.sleep(0.005 if number % 2 == 0 else 0)
        return number

    with in_lanes(jobs_of(30, work), count, ahead=3) as results:
        assert list(results) == list(range(30))


def test_lanes_work_at_the_same_time() -> None:
    """Two jobs that wait for each other both end."""
    meeting = threading.Barrier(2, timeout=30)

    def work(number: int) -> int:
        meeting.wait()
        return number

    with in_lanes(jobs_of(8, work), 2, ahead=2) as results:
        assert len(list(results)) == 8


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_in_its_place(count: int) -> None:
    """What came before it is given, and it is raised to whoever iterates."""

    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    got: list[int] = []
    with (
        pytest.raises(ValueError, match="five"),
        in_lanes(jobs_of(50, work), count, ahead=2) as results,
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

    with in_lanes(jobs_of(1000, work), count, ahead=4) as results:
        assert next(results) == 0
        while len(begun) <= count:
            time.sleep(0.01)
        threading.Timer(1, release.set).start()  # when the block has long been left
    assert begun == [0, 1, 2][: count + 1]


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
