"""What the user sees while a run goes: a bar or lines on stderr, and perhaps a window."""

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
    """Give a function to call with each written frame: a bar on a terminal, lines elsewhere.

    Args:
        total: how many frames there will be; None when that is not known.
    """
    if sys.stderr.isatty():
        bar: ProgressBar[int]
        with click.progressbar(length=total, label="translating", file=sys.stderr) as bar:
            yield lambda task: bar.update(1)
    else:
        yield _Lines(total)


class _Lines:
    def __init__(self, total: int | None) -> None:
        self._of = "" if total is None else f" of {total}"
        self._count, self._last_s = 0, time.monotonic()

    def __call__(self, task: FrameTask) -> None:
        self._count += 1
        if time.monotonic() - self._last_s >= _LINE_EVERY_S:
            self._last_s = time.monotonic()
            _log.info("%d%s frames", self._count, self._of)


class Window:
    """Shows frames; Q or Escape in it asks for the end.

    Attributes:
        closed: whether the user asked for the end.
    """

    _TITLE = "p2p-run"

    def __init__(self) -> None:
        """Check that there is a display.

        Raises:
            ConfigError: there is none, or this OpenCV cannot open windows.
        """
        # Qt ends the whole process when it finds no display, so ask before it does.
        linux = sys.platform.startswith("linux")
        if linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("--show needs a display, and there is none (DISPLAY is not set)")
        try:
            cv2.namedWindow(self._TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise ConfigError(
                "--show needs an OpenCV with windows; opencv-python-headless has none"
            ) from error
        self.closed = False

    def __call__(self, task: FrameTask) -> None:
        """Show a frame."""
        cv2.imshow(self._TITLE, task.image)
        self.closed = cv2.waitKey(1) & 0xFF in (ord("q"), 27)
