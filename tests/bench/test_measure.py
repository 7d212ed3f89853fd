"""How backends are timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from p2p_bench.measure import WARM_UP, agreement_db, measure
from p2p_bench.process import Round


class FakeProcess:
    """A backend whose latencies are a function of the frame number."""

    def __init__(self, name: str, calls: list[str], ms: Callable[[int], float]) -> None:
        self.name, self.calls, self.ms = name, calls, ms
        self.numbers: list[int] = []
        self.untimed: list[int] = []

    def run_round(self, numbers: Sequence[int], warm_up: int) -> Round:
        self.calls.append(self.name)
        self.numbers += numbers
        self.untimed.append(warm_up)
        latencies_ms = tuple(self.ms(number) for number in numbers)
        return Round(latencies_ms=latencies_ms, cpu_ms=2 * sum(latencies_ms))


@pytest.fixture
def bench():
    """Return a function that measures fakes given as name -> ms, and the processes."""

    def run(frames: int = 10, rounds: int = 5, **fakes: Callable[[int], float]):
        calls: list[str] = []
        processes = [FakeProcess(name, calls, ms) for name, ms in fakes.items()]
        return measure(processes, frames, rounds=rounds), processes

    return run


def test_medians_and_ratios_refer_to_the_first(bench):
    """The figures are those of the frames; every ratio is against the first process."""
    (slow, fast), _ = bench(eager=lambda n: 10.0, fp32=lambda n: 4.0)
    assert (slow.median_ms, slow.speedup) == (10.0, 1.0)
    assert (fast.median_ms, fast.p90_ms, fast.p99_ms, fast.fastest_ms) == (4.0, 4.0, 4.0, 4.0)
    assert fast.speedup == pytest.approx(2.5)
    assert fast.frames_per_s == pytest.approx(250)
    assert fast.cpu_ms == pytest.approx(8.0)  # all threads together


def test_nothing_is_trimmed(bench):
    """One slow frame in a hundred stands in the tail."""
    (row,), _ = bench(frames=100, eager=lambda n: 500.0 if n == 42 else 5.0)
    assert row.frames == 100
    assert row.p90_ms == 5.0
    assert row.p99_ms > 5.0


def test_ratios_pair_the_same_frame_of_the_same_round(bench):
    """Where each frame is twice as fast, so is the backend, however frames differ."""
    rows, _ = bench(eager=lambda n: 10.0 * 2**n, fp32=lambda n: 5.0 * 2**n)
    assert rows[1].speedup == rows[1].slowest_round == rows[1].fastest_round == 2.0


def test_rounds_show_how_far_ratios_spread(bench):
    """A round in which a backend was disturbed shows."""
    rows, _ = bench(eager=lambda n: 10.0, fp32=lambda n: 10.0 if n % 5 == 0 else 5.0)
    assert (rows[1].slowest_round, rows[1].speedup, rows[1].fastest_round) == (1.0, 2.0, 2.0)


def test_every_backend_gets_every_frame_once_timed(bench):
    """No frame is left out when the rounds do not divide the frames."""
    _, processes = bench(frames=7, eager=lambda n: 1.0, int8=lambda n: 1.0)
    assert [sorted(process.numbers) for process in processes] == [list(range(7))] * 2


def test_fewer_frames_than_rounds_still_work(bench):
    """One frame makes one round."""
    (row,), _ = bench(frames=1, eager=lambda n: 1.0)
    assert row.frames == 1


def test_rounds_are_interleaved_and_start_with_another_backend(bench):
    """Load on the machine affects all backends alike."""
    _, (a, b) = bench(frames=4, rounds=2, a=lambda n: 1.0, b=lambda n: 1.0)
    assert a.calls == ["a", "b", "b", "a"]
    assert a.untimed == b.untimed == [WARM_UP] * 2


def test_agreement_is_the_mean_over_frames():
    """A frame that is right does not hide one that is wrong, and the other way round."""
    expected = np.zeros((2, 8, 8, 3), np.uint8)
    assert agreement_db(expected, expected) == float("inf")
    off = expected + np.array([255, 0], np.uint8)[:, None, None, None]
    # 0 dB for the frame that is all wrong, and the most that such a frame can show for the other.
    most = 10 * np.log10(255**2 * 8 * 8 * 3)
    assert agreement_db(off, expected) == pytest.approx(most / 2)
