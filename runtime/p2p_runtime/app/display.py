"""Progress on stderr, a window, and an overlay of figures, while ``p2p-run`` works."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

import cv2

from p2p_runtime.console import StatusLine, whole_seconds
from p2p_runtime.errors import ConfigError, count_of
from p2p_runtime.video.frames import FrameTask

__all__ = ["Overlay", "Window", "show_progress"]

_SMOOTHING = 0.9
"""Weight of the past in the running mean of the frame interval, which spans about ten frames."""


@contextlib.contextmanager
def show_progress(total: int | None) -> Iterator[Callable[[FrameTask], None]]:
    """Yield a function to call with each written frame, of ``total`` if that is known."""
    count, start_s = 0, time.monotonic()
    with StatusLine() as line:

        def advance(task: FrameTask) -> None:
            nonlocal count
            count, elapsed_s = count + 1, max(time.monotonic() - start_s, 1e-9)
            known = total if total is not None and count <= total else None
            rate = f"{count / elapsed_s:.1f} frames/s"
            if known is None:
                line.show(count_of(count, "frame"), rate, whole_seconds(elapsed_s))
            else:
                left = whole_seconds(elapsed_s / count * (known - count))
                line.show(f"frame {count}/{known}, {left} left", rate, share=count / known)

        yield advance


class Window:
    """Shows frames in a window; Q or Escape sets :attr:`closed`. A ConfigError if there is none."""

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


class Overlay:
    """Draws the frame rate and the latency into the upper left corner."""

    _last_s: float | None = None
    _interval_s: float | None = None

    def __call__(self, task: FrameTask) -> None:
        """Give a task a copy of its image with the figures on it as output."""
        now_s = time.perf_counter()
        drawn, text = task.image.copy(), self._text(now_s, (now_s - task.decoded_s) * 1e3)
        scale = max(0.35, drawn.shape[0] / 720)
        place, font = (round(12 * scale), round(30 * scale)), cv2.FONT_HERSHEY_SIMPLEX
        stroke_px, edge_px = max(1, round(scale)), round(8 * scale)
        (width_px, height_px), below_px = cv2.getTextSize(text, font, scale, stroke_px)
        left, top = place[0] - edge_px, place[1] - height_px - edge_px
        right, bottom = place[0] + width_px + edge_px, place[1] + below_px + edge_px
        drawn[max(top, 0) : bottom, max(left, 0) : right] //= 3  # readable on any picture
        cv2.putText(drawn, text, place, font, scale, (255, 255, 255), stroke_px, cv2.LINE_AA)
        task.output = drawn

    def _text(self, now_s: float, latency_ms: float) -> str:
        if self._last_s is not None:
            interval_s = now_s - self._last_s
            before_s = interval_s if self._interval_s is None else self._interval_s
            self._interval_s = _SMOOTHING * before_s + (1 - _SMOOTHING) * interval_s
        self._last_s = now_s
        rate = f"{1 / self._interval_s:.1f}" if self._interval_s else "--"
        return f"{rate} frames/s  {latency_ms:.0f} ms"
