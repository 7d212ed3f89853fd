"""Status of a long run: JSON lines for programs, watchdog notifications for systemd.

The run's main thread beats ten times a second, also while its source is silent. Only what blocks
that thread, a hung disk for example, stops the notifications.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from p2p_runtime.video.frames import FrameTask

__all__ = ["Facts", "Heartbeat", "notify_systemd", "resources"]

STATUS_EVERY_S = 5.0
"""Interval of the JSON lines in seconds."""

Facts = Mapping[str, object]

_log = logging.getLogger(__name__)


class Heartbeat:
    """Counts frames, and reports that the run goes on, every five seconds as JSON.

    A line is added to ``stream`` and replaces ``file``; either may be None. ``more`` returns what
    else it is to hold. The block begins once model, source and sink are open, and ends with the
    last figures.
    """

    def __init__(
        self, stream: TextIO | None = None, file: Path | None = None, *,
        more: Callable[[], Facts] = dict, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._stream, self._file, self._more, self._clock = stream, file, more, clock
        self._silent = stream is None and file is None
        self._began_s = self._reported_s = self._notified_s = clock()
        self._frames = self._frames_reported = 0
        self._video_s, self._lock = 0.0, threading.Lock()
        self._watchdog_s = _watchdog_s()
        self._owner = threading.get_ident()

    def __enter__(self) -> Heartbeat:
        notify_systemd("READY=1")
        return self

    def __exit__(self, *error: object) -> None:
        notify_systemd("STOPPING=1")
        if not self._silent:
            self._report(self._clock())

    def frame(self, task: FrameTask) -> None:
        """Count a frame that was written; from any thread."""
        with self._lock:
            self._frames += 1
            self._video_s = task.timestamp_s

    def beat(self) -> None:
        """Report what is due; cheap when nothing is. Only the thread that created this counts."""
        if threading.get_ident() != self._owner:
            return
        now_s = self._clock()
        if self._watchdog_s and now_s - self._notified_s >= self._watchdog_s / 2:
            self._notified_s = now_s
            notify_systemd("WATCHDOG=1")
        if not self._silent and now_s - self._reported_s >= STATUS_EVERY_S:
            self._report(now_s)

    def _report(self, now_s: float) -> None:
        fps = (self._frames - self._frames_reported) / max(now_s - self._reported_s, 1e-9)
        self._reported_s, self._frames_reported = now_s, self._frames
        status = {
            "event": "status",
            "uptime_s": round(now_s - self._began_s, 1),
            "frames": self._frames,
            "fps": round(fps, 2),
            "video_s": round(self._video_s, 3),
            **resources(),
            **self._more(),
        }
        line = json.dumps(status) + "\n"
        with contextlib.suppress(OSError):  # stderr may be closed or full; the run matters more
            if self._stream is not None:
                self._stream.write(line)
                self._stream.flush()
        with contextlib.suppress(OSError):
            if self._file is not None:
                new = self._file.with_name(f".{self._file.name}.new")
                new.write_text(line, encoding="utf-8")  # not flushed: no run waits for a disk here
                new.replace(self._file)


def notify_systemd(state: str) -> None:
    """Send ``READY=1``, ``WATCHDOG=1`` or ``STOPPING=1`` to systemd if it listens: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.settimeout(1)
            notify.sendto(state.encode(), address)
    except OSError as error:
        _log.debug("systemd was not notified of %s: %s", state, error)


def _watchdog_s() -> float:
    """Return systemd's watchdog interval for this process in seconds, 0 for none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(int(os.environ.get("WATCHDOG_USEC", "0")), 0) / 1e6
    except ValueError:
        return 0.0


def resources() -> dict[str, float | int]:
    """Return resident memory in MiB, threads and open descriptors; empty where /proc is missing."""
    process = Path("/proc/self")
    try:
        pages = int((process / "statm").read_text(encoding="ascii").split()[1])
        return {
            "rss_mib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2),
            "threads": sum(1 for _ in (process / "task").iterdir()),
            "descriptors": sum(1 for _ in (process / "fd").iterdir()),
        }
    except (OSError, ValueError, IndexError):
        return {}
