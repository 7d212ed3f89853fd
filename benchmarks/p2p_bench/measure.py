"""Time backends in interleaved rounds, so that load on the machine affects all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .process import BackendProcess, Round

__all__ = ["WARM_UP", "Latency", "agreement_db", "measure", "rotate"]

T = TypeVar("T")

ROUNDS = 5
"""Number of rounds."""
WARM_UP = 2
"""Untimed batches before each round, which refill the caches that other backends used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """The time of a backend for a batch, from host memory to host memory. Nothing is trimmed.

    Attributes:
        frames: number of timed batches.
        median_ms, p90_ms, p99_ms, fastest_ms: of the latencies in milliseconds.
        cpu_ms: CPU time of a batch, summed over all threads.
        speedup: median over the batches of the reference's latency divided by this backend's, for
            the same batch in the same round.
        slowest_round, fastest_round: least and greatest ratio of the medians of a round.
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
        """Batches a second at the median latency."""
        return 1e3 / self.median_ms


def measure(
    processes: Sequence[BackendProcess], frames: int, *, rounds: int = ROUNDS
) -> list[Latency]:
    """Time every backend, all started, on so many batches, which they know by number.

    Each round takes a share of the batches through all backends, starting with another one. The
    first one is the reference.
    """
    measured: dict[str, list[Round]] = {process.name: [] for process in processes}
    rounds = min(rounds, frames)
    for number in range(rounds):
        for process in rotate(processes, number):
            measured[process.name].append(process.run_round(range(number, frames, rounds), WARM_UP))
    reference = measured[processes[0].name]
    return [_latency(name, own, reference) for name, own in measured.items()]


def rotate(items: Sequence[T], number: int) -> list[T]:
    """Return the items of a round in an order that starts with another one in every round."""
    first = number % len(items)
    return [*items[first:], *items[:first]]


def agreement_db(images: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Return the mean PSNR in dB of images to expected ones, (N, H, W, 3) uint8 BGR each.

    It is inf if all are equal; else an equal image counts as if one value were off by one.
    """
    difference = images.astype(np.float64) - expected.astype(np.float64)
    squares = (difference**2).mean(axis=(1, 2, 3))  # (N,)
    if not squares.any():
        return float("inf")
    least = 1 / images[0].size
    return float((10 * np.log10(255.0**2 / np.maximum(squares, least))).mean())


def _latency(name: str, own: list[Round], reference: list[Round]) -> Latency:
    rounds = [np.array(one.latencies_ms) for one in own]
    references = [np.array(one.latencies_ms) for one in reference]
    latencies_ms = np.concatenate(rounds)
    by_round = [
        float(np.median(other) / np.median(mine))
        for mine, other in zip(rounds, references, strict=True)
    ]
    return Latency(
        name=name,
        frames=len(latencies_ms),
        median_ms=float(np.median(latencies_ms)),
        p90_ms=float(np.percentile(latencies_ms, 90)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        fastest_ms=float(latencies_ms.min()),
        cpu_ms=sum(one.cpu_ms for one in own) / len(latencies_ms),
        speedup=float(np.median(np.concatenate(references) / latencies_ms)),
        slowest_round=min(by_round),
        fastest_round=max(by_round),
    )
