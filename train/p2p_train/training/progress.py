"""The progress of a run: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["TrainProgress"]

logger = logging.getLogger(__name__)
LINE_EVERY_S = 15.0


class TrainProgress:
    """Shows step, epoch, losses, images/s and the time left.

    Args:
        first_step, total_steps: steps done before, by a resumed run, and of the whole run.
        batch_size: images a step.
        silent: show nothing, for all but the first of several processes.
    """

    def __init__(
        self, first_step: int, total_steps: int, batch_size: int, *, silent: bool = False
    ) -> None:
        self._silent, self._batch_size = silent, batch_size
        self._total_steps, self._first_step = total_steps, first_step
        self._images = 0
        self._start_s = self._line_s = time.monotonic()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]:.2f}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.1f} images/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=Console(stderr=True),
            disable=silent or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(
            "", total=total_steps, completed=first_step, epoch=0.0, speed=0.0, losses=""
        )

    def __enter__(self) -> TrainProgress:
        self._bar.start()
        self._start_s = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block, validation and saving, as training."""
        begin_s = time.monotonic()
        yield
        self._start_s += time.monotonic() - begin_s

    def speed(self) -> float:
        """Return the images/s of the steps shown so far."""
        return self._images / max(time.monotonic() - self._start_s, 1e-9)

    def show(self, step: int, epoch: float, losses: str) -> None:
        """Redraw the bar, or log a line if the last one is old enough."""
        self._images = (step - self._first_step) * self._batch_size
        speed, now_s = self.speed(), time.monotonic()
        self._bar.update(self._task, completed=step, epoch=epoch, speed=speed, losses=losses)
        if self._bar.disable and not self._silent and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            left_s = (self._total_steps - step) * self._batch_size / max(speed, 1e-9)
            left = timedelta(seconds=round(left_s))
            text = "step %d/%d, epoch %.2f, %.1f images/s, %s left, %s"
            logger.info(text, step, self._total_steps, epoch, speed, left, losses)
