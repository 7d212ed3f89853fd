"""How backends are timed."""

from __future__ import annotations

import numpy as np
import pytest

from p2p_bench.measure import WARM_UP, make_frames, measure
from p2p_runtime.contract import PixelContract
from p2p_runtime.palette import CITYSCAPES

CONTRACT = PixelContract(height=32, width=64, palette=CITYSCAPES)


class Clock:
    """A clock that only the engines move."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class FakeEngine:
    """An engine that takes a given time and adds a given amount to every pixel."""

    device = "cpu"

    def __init__(self, clock: Clock, turns: list[str], name: str, ms: float, add: int = 0) -> None:
        self.clock, self.turns, self.name, self.ms, self.add = clock, turns, name, ms, add

    def infer(self, frames: np.ndarray) -> np.ndarray:
        self.clock.now_s += self.ms / 1e3
        self.turns.append(self.name)
        return np.clip(frames.astype(int) + self.add, 0, 255).astype(np.uint8)

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def bench():
    """Return a function that measures fakes given as name -> (ms, add), and the turns taken."""

    def run(fakes: dict[str, tuple[float, int]], frames: int = 10, rounds: int = 5):
        clock, turns = Clock(), []
        engines = {
            name: FakeEngine(clock, turns, name, ms, add) for name, (ms, add) in fakes.items()
        }
        frames_made = make_frames(CONTRACT, None, frames)
        return measure(engines, frames_made, rounds=rounds, clock=clock), turns

    return run


def test_median_p95_and_speedup_come_from_the_clock(bench):
    """The figures are those of the frames, and speed-ups refer to the first backend."""
    (slow, fast), _ = bench({"eager": (10.0, 0), "fp32": (4.0, 0)})
    assert slow.median_ms == pytest.approx(10.0)
    assert slow.speedup == pytest.approx(1.0)
    assert (fast.median_ms, fast.p95_ms, fast.fastest_ms) == pytest.approx((4.0, 4.0, 4.0))
    assert fast.speedup == pytest.approx(2.5)
    assert fast.frames_per_s == pytest.approx(250)


def test_every_backend_gets_every_frame_once_timed(bench):
    """No frame is left out when the rounds do not divide the frames."""
    rows, _ = bench({"eager": (1.0, 0), "int8": (1.0, 0)}, frames=7, rounds=5)
    assert [row.frames for row in rows] == [7, 7]


def test_fewer_frames_than_rounds_still_work(bench):
    """One frame makes one round."""
    rows, _ = bench({"eager": (1.0, 0)}, frames=1)
    assert rows[0].frames == 1


def test_backends_take_turns_and_each_goes_first_in_some_round(bench):
    """A slow minute hits all backends alike, and none always follows the same one."""
    _, turns = bench({"a": (1.0, 0), "b": (1.0, 0)}, frames=4, rounds=2)
    turn = WARM_UP + 2
    assert turns[: 4 * turn] == ["a"] * turn + ["b"] * turn + ["b"] * turn + ["a"] * turn


def test_images_are_compared_with_the_first_backends(bench):
    """A backend that computes something else shows a low PSNR."""
    rows, _ = bench({"eager": (1.0, 0), "same": (1.0, 0), "other": (1.0, 40)})
    assert rows[0].psnr_db == rows[1].psnr_db == float("inf")
    assert 10 < rows[2].psnr_db < 25


def test_frames_are_the_models_own_inputs_where_there_are_any():
    """Real inputs are repeated until there are enough."""
    inputs = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    frames = make_frames(CONTRACT, inputs, 3)
    assert [frame.shape for frame in frames] == [(1, 4, 4, 3)] * 3
    np.testing.assert_array_equal(frames[2][0], inputs[0])


def test_frames_are_drawn_otherwise():
    """Without real inputs, frames in the contract's size and colours stand in."""
    first, second = make_frames(CONTRACT, None, 2)
    assert first.shape == (1, 32, 64, 3)
    np.testing.assert_array_equal(CITYSCAPES.snap(first), first)
    assert (first != second).any()
