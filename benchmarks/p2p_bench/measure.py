"""Time backends side by side: interleaved rounds, so that a busy minute hits all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .process import Round

__all__ = ["Latency", "Runner", "agreement_db", "measure"]

ROUNDS = 5
WARM_UP = 2
"""Untimed frames before each turn: caches and threads are as the backend before left them."""


class Runner(Protocol):
    """Who takes turns."""

    @property
    def name(self) -> str: ...  # noqa: D102

    def take_turn(self, numbers: Sequence[int], warm_up: int) -> Round:
        """Translate the batches of these numbers, after some untimed ones."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What one backend took for a batch, from host memory to host memory. Nothing is trimmed.

    Attributes:
        name: the backend's.
        frames: how many were timed.
        median_ms, p90_ms, p99_ms, fastest_ms: of the latencies in milliseconds.
        cpu_ms: CPU time of a frame, all threads together.
        speedup: median, over the frames, of the reference's latency over this one's for the same
            frame in the same round.
        slowest_round, fastest_round: least and greatest such ratio of a round's medians.
    """

    name: str
    frames: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    fastest_ms: float
    cpu_ms: float
    speedup: float
    slowest_round: float
    fastest_round: float

    @property
    def frames_per_s(self) -> float:
        """One over the median."""
        return 1e3 / self.median_ms


def measure(runners: Sequence[Runner], frames: int, *, rounds: int = ROUNDS) -> list[Latency]:
    """Time every runner on every frame.

    Each round takes its share of the frames through all runners, and every round another runner
    goes first.

    Args:
        runners: the first is the reference.
        frames: how many; runners know them by number.
        rounds: how often the runners take turns.
    """
    turns: dict[str, list[Round]] = {runner.name: [] for runner in runners}
    rounds = min(rounds, frames)
    for number in range(rounds):
        first = number % len(runners)
        for runner in [*runners[first:], *runners[:first]]:
            turns[runner.name].append(runner.take_turn(range(number, frames, rounds), WARM_UP))
    reference = turns[runners[0].name]
    return [_latency(runner.name, turns[runner.name], reference) for runner in runners]


def agreement_db(images: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Return the mean over frames of the PSNR to what was expected; inf when all are equal.

    Args:
        images, expected: (N, H, W, 3) uint8 BGR. A frame without any difference counts as if one
            value in it were off by one.
    """
    difference = images.astype(np.float64) - expected.astype(np.float64)
    squares = (difference**2).mean(axis=(1, 2, 3))  # (N,)
    if not squares.any():
        return float("inf")
    least = 1 / images[0].size
    return float((10 * np.log10(255.0**2 / np.maximum(squares, least))).mean())


def _latency(name: str, turns: list[Round], reference: list[Round]) -> Latency:
    rounds = [np.array(turn.latencies_ms) for turn in turns]
    references = [np.array(turn.latencies_ms) for turn in reference]
    latencies_ms = np.concatenate(rounds)
    by_round = [
        float(np.median(other) / np.median(own))
        for own, other in zip(rounds, references, strict=True)
    ]
    return Latency(
        name=name,
        frames=len(latencies_ms),
        median_ms=float(np.median(latencies_ms)),
        p90_ms=float(np.percentile(latencies_ms, 90)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        fastest_ms=float(latencies_ms.min()),
        cpu_ms=sum(turn.cpu_ms for turn in turns) / len(latencies_ms),
        speedup=float(np.median(np.concatenate(references) / latencies_ms)),
        slowest_round=min(by_round),
        fastest_round=max(by_round),
    )
