"""Fake backends for tests of the benchmark; its child processes import this module."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from p2p_runtime.engines import UninterruptibleEngine
from p2p_runtime.errors import DeviceUnavailableError


@dataclass(frozen=True, kw_only=True)
class ToyBackend:
    """Adds a number to every pixel, in a given time; or fails in a given way."""

    name: str
    what: str = "a toy"
    needs: str = "fp32"
    add: int = 0
    takes_ms: float = 0.0
    reason: str | None = None
    fails: str = ""

    def unavailable(self) -> str | None:
        """Return the reason that the test set."""
        return self.reason

    def open(self, path: Path, threads: int) -> ToyEngine:
        """Open, or fail as a backend that fell back does."""
        os.write(1, b"libraries print things")
        if self.fails == "fallback":
            raise DeviceUnavailableError("asked for a GPU but got a CPU")
        if self.fails == "death":
            os._exit(7)
        return ToyEngine(self.add, self.takes_ms)


class ToyEngine(UninterruptibleEngine):
    """An engine that returns the same memory for every batch."""

    device = "cpu"

    def __init__(self, add: int, takes_ms: float) -> None:
        self.add, self.takes_ms = add, takes_ms
        self.images: np.ndarray | None = None

    def infer(self, frames: np.ndarray) -> np.ndarray:
        """Add, with a pause."""
        time.sleep(self.takes_ms / 1e3)
        if self.images is None:
            self.images = np.empty_like(frames)
        self.images[:] = np.clip(frames.astype(int) + self.add, 0, 255)
        return self.images

    def close(self) -> None:
        """Nothing to free."""
