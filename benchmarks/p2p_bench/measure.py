"""Time backends side by side: interleaved rounds, so that a busy minute hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.bundle import GoldenFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.contract import PixelContract
    from p2p_runtime.engines import Engine

__all__ = ["Row", "make_frames", "measure"]

ROUNDS = 5
WARM_UP = 2
"""Untimed frames before each turn: the backend before it may still spin its threads."""
COMPARED = 4
"""Frames whose images are compared with the reference's."""

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one backend took for a frame, from host memory to host memory.

    Attributes:
        name: the backend's.
        frames: how many were timed.
        median_ms, p95_ms, fastest_ms: of the latencies in milliseconds.
        speedup: the reference's median over this one's.
        psnr_db: of its images to the reference's, the mean of a few frames; inf when equal.
    """

    name: str
    frames: int
    median_ms: float
    p95_ms: float
    fastest_ms: float
    speedup: float
    psnr_db: float

    @property
    def frames_per_s(self) -> float:
        """One over the median."""
        return 1e3 / self.median_ms


def measure(
    engines: Mapping[str, Engine],
    frames: Sequence[NDArray[np.uint8]],
    *,
    rounds: int = ROUNDS,
    clock: Clock = time.perf_counter,
) -> list[Row]:
    """Time every engine on every frame.

    Each round takes its share of the frames through all engines, and every round another engine
    goes first.

    Args:
        engines: by name; the first is the reference.
        frames: (1, H, W, 3) uint8 BGR each; every engine translates all of them.
        rounds: how often the engines take turns.
        clock: tells the time in seconds.
    """
    names = list(engines)
    latencies_ms: dict[str, list[float]] = {name: [] for name in names}
    rounds = min(rounds, len(frames))
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            latencies_ms[name] += _take_turn(engines[name], frames[turn::rounds], clock)
    reference, *_ = names
    expected = _translate(engines[reference], frames)
    return [
        _row(
            name,
            np.array(latencies_ms[name]),
            float(np.median(latencies_ms[reference])),
            _psnr_db(_translate(engines[name], frames), expected),
        )
        for name in names
    ]


def make_frames(
    contract: PixelContract, inputs: NDArray[np.uint8] | None, count: int
) -> list[NDArray[np.uint8]]:
    """Return frames to time with, each (1, H, W, 3) uint8 BGR.

    Args:
        contract: the size and the palette.
        inputs: (N, H, W, 3) uint8 BGR, real inputs to repeat; None for drawn ones.
        count: how many.
    """
    if inputs is not None and len(inputs):
        return [np.ascontiguousarray(inputs[[index % len(inputs)]]) for index in range(count)]
    return [GoldenFrame.draw(contract, seed)[np.newaxis] for seed in range(count)]


def _take_turn(engine: Engine, frames: Sequence[NDArray[np.uint8]], clock: Clock) -> list[float]:
    for _ in range(WARM_UP):
        engine.infer(frames[0])
    latencies_ms = []
    for frame in frames:
        start_s = clock()
        engine.infer(frame)
        latencies_ms.append((clock() - start_s) * 1e3)
    return latencies_ms


def _translate(engine: Engine, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([engine.infer(frame) for frame in frames[:COMPARED]])


def _row(name: str, latencies_ms: NDArray[np.float64], reference_ms: float, psnr_db: float) -> Row:
    median_ms = float(np.median(latencies_ms))
    return Row(
        name=name,
        frames=len(latencies_ms),
        median_ms=median_ms,
        p95_ms=float(np.percentile(latencies_ms, 95)),
        fastest_ms=float(latencies_ms.min()),
        speedup=reference_ms / median_ms,
        psnr_db=psnr_db,
    )


def _psnr_db(images: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    difference = images.astype(np.float64) - expected.astype(np.float64)
    mean_square = float((difference**2).mean())
    return float("inf") if mean_square == 0 else 10 * float(np.log10(255.0**2 / mean_square))
