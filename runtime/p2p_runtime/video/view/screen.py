"""The newest frame of a run, as those who watch it get it."""

from __future__ import annotations

import threading
import time

import cv2

from p2p_runtime.video.frames import FrameTask

__all__ = ["Screen", "ShownFrame"]

QUALITY = 80
"""Quality of the JPEGs (0-100)."""

INTERVAL_S = 1 / 30
"""Shortest time between two frames of a viewer. A file may be translated ten times as fast, and
nobody would see more; the model needs the cores."""


class ShownFrame:
    """A frame that was written; its JPEGs are made once, by the first viewer that asks.

    Its latency is from decoded to written; ``shown_s`` is ``time.perf_counter()`` when it came.
    Class ids are (h, w) uint8, None for inputs without classes.
    """

    def __init__(self, task: FrameTask) -> None:
        self.number, self.timestamp_s = task.index, task.timestamp_s
        self.latency_ms = task.times_ms.get("latency", 0.0)
        self.shown_s = time.perf_counter()
        self.class_ids = task.class_ids
        # Of an image with its input on the left, the right half.
        self._output = task.image[:, -task.picture.shape[1] :]
        self._input = self._output if task.input is None else task.input.pixels
        self._jpegs: dict[bool, bytes] = {}
        self._lock = threading.Lock()

    def jpeg(self, *, of_input: bool = False) -> bytes:
        """Return the output, or what the generator got."""
        pixels = self._input if of_input else self._output
        with self._lock:
            if of_input not in self._jpegs:
                _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
                self._jpegs[of_input] = content.tobytes()
            return self._jpegs[of_input]


class Screen:
    """A slot for the newest frame. Whoever puts one there never waits for those who watch.

    Attributes:
        newest: the frame; None before the first.
        closed: whether no frame will come.
    """

    def __init__(self) -> None:
        self.newest: ShownFrame | None = None
        self._given: ShownFrame | None = None
        self._due_s, self._waiting = 0.0, 0
        self._changed = threading.Condition()
        self.closed = False

    def show(self, task: FrameTask) -> None:
        """Replace the frame."""
        frame = ShownFrame(task)
        with self._changed:
            self.newest = frame
            if self._waiting and frame.shown_s >= self._due_s:
                self._changed.notify_all()

    def wait(self, other_than: int, timeout_s: float) -> ShownFrame | None:
        """Return the newest frame as soon as it has another number; None after the timeout.

        All viewers get the same frames, 30 a second at most.
        """
        end_s = time.perf_counter() + timeout_s
        with self._changed:
            while not self.closed and (now_s := time.perf_counter()) < end_s:
                if self.newest is not self._given and now_s >= self._due_s:
                    self._given = self.newest
                    # A source that is not quite regular loses nothing.
                    self._due_s = max(self._due_s, now_s - INTERVAL_S / 2) + INTERVAL_S
                if self._given is not None and self._given.number != other_than:
                    return self._given
                self._waiting += 1
                self._changed.wait((self._due_s if self._due_s > now_s else end_s) - now_s)
                self._waiting -= 1
        return None

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
