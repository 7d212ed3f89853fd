"""The progress of a run: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from p2p_runtime.console import StatusLine, whole_seconds

__all__ = ["TrainProgress"]

LINE_EVERY_S = 15.0


class TrainProgress:
    """Shows step, epoch, losses, images/s and the time left, unless it is ``silent``."""

    def __init__(
        self, first_step: int, total_steps: int, batch_size: int, *, silent: bool = False
    ) -> None:
        self._silent, self._batch_size = silent, batch_size
        self._total_steps, self._first_step = total_steps, first_step
        self._images = 0
        self._start_s = time.monotonic()
        self._line = StatusLine(LINE_EVERY_S)

    def __enter__(self) -> TrainProgress:
        self._line.__enter__()
        self._start_s = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._line.__exit__(*error)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block, validation and saving, as training."""
        begin_s = time.monotonic()
        yield
        self._start_s += time.monotonic() - begin_s

    def speed(self) -> float:
        """Return the images/s of the steps shown so far."""
        return self._images / max(time.monotonic() - self._start_s, 1e-9)

    def show(self, step: int, epoch: float, losses: str) -> list[str]:
        """Redraw the line, or log one if the last one is old enough; return its parts."""
        self._images = (step - self._first_step) * self._batch_size
        speed = self.speed()
        left_s = (self._total_steps - step) * self._batch_size / max(speed, 1e-9)
        first = f"step {step}/{self._total_steps}"
        left = f"{whole_seconds(left_s)} left"
        others = [f"{speed:.1f} images/s", f"epoch {epoch:.2f}", *losses.split(", ")]
        if not self._silent:
            self._line.show(f"{first}, {left}", *others, share=step / self._total_steps)
        return [first, left, *others]
