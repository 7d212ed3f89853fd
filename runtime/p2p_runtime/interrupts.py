"""Ending a process cleanly: the first signal requests a stop, the second one ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

__all__ = ["UNINTERRUPTIBLE", "StopRequest", "leave"]

UNINTERRUPTIBLE = "p2p-uninterruptible"
"""Name of daemon threads that may block in a decoder for as long as a camera is silent."""


def leave(leaving: SystemExit) -> None:
    """End the process at once if a thread is still blocked in a decoder; otherwise return.

    Python's shutdown around such a thread could crash the decoder when it wakes. Call this last:
    everything must be written by then.
    """
    if any(thread.name == UNINTERRUPTIBLE for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        code = leaving.code  # None is success, a text a failure: as Python does
        os._exit(code if isinstance(code, int) else int(code is not None))


class StopRequest:
    """Turns SIGINT and SIGTERM into a flag that long work checks between two steps.

    The first signal sets the flag and puts the previous handlers back, so that a second signal
    ends the process at once. Use it as a context manager, in the main thread.

    Attributes:
        exit_code: 130 after SIGINT, 143 after SIGTERM, 0 before any.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._before: dict[signal.Signals, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.exit_code != 0

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us
