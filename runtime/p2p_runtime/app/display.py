"""Progress on stderr, and a window, while ``p2p-run`` works."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
import cv2

from p2p_runtime.errors import ConfigError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from p2p_runtime.video.frames import FrameTask

__all__ = ["Window", "show_progress"]

_LINE_EVERY_S = 5.0
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def show_progress(total: int | None) -> Iterator[Callable[[FrameTask], None]]:
    """Yield a function to call with each written frame: a bar on a terminal, else lines.

    Args:
        total: expected number of frames; None if unknown.
    """
    if sys.stderr.isatty():
        bar: ProgressBar[int]
        with click.progressbar(length=total, label="translating", file=sys.stderr) as bar:
            yield lambda task: bar.update(1)
        return
    count, last_s = 0, time.monotonic()

    def log(task: FrameTask) -> None:
        nonlocal count, last_s
        count += 1
        if time.monotonic() - last_s >= _LINE_EVERY_S:
            last_s = time.monotonic()
            _log.info("%d%s frames", count, "" if total is None else f" of {total}")

    yield log


class Window:
    """Shows frames in a window; Q or Escape sets :attr:`closed`.

    Raises:
        ConfigError: there is no display, or this OpenCV cannot open windows.
    """

    def __init__(self) -> None:
        # Qt aborts the process when it finds no display, so check first.
        linux = sys.platform.startswith("linux")
        if linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("--show needs a display, and DISPLAY is not set")
        try:
            cv2.namedWindow("p2p-run", cv2.WINDOW_NORMAL)
        except cv2.error as error:
            missing = "--show needs an OpenCV with windows; opencv-python-headless has none"
            raise ConfigError(missing) from error
        self.closed = False

    def __call__(self, task: FrameTask) -> None:
        """Show a frame."""
        cv2.imshow("p2p-run", task.image)
        self.closed = cv2.waitKey(1) & 0xFF in (ord("q"), 27)
