"""Ending a process cleanly: the first signal requests a stop, the second one ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

__all__ = ["UNINTERRUPTIBLE", "StopRequest", "end_now", "ended_by_ctrl_c", "leave"]

UNINTERRUPTIBLE = "p2p-uninterruptible"
"""Name of daemon threads that may block in a decoder for as long as a camera is silent."""


_CUT_OFF = b"interrupted while a library was busy; what was written so far can be read\n"


def leave(leaving: SystemExit) -> None:
    """End the process at once if a thread is still blocked in a decoder; otherwise return.

    Python's shutdown around such a thread could crash the decoder when it wakes. Call this last:
    everything must be written by then.
    """
    if any(thread.name == UNINTERRUPTIBLE for thread in threading.enumerate()):
        end_now(leaving)


def end_now(leaving: SystemExit) -> NoReturn:
    """End the process without Python's shutdown, around which a library's threads may crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    code = leaving.code  # None is success, a text a failure: as Python does
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextlib.contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once during the block, which waits in a library for minutes.

    Python would answer after it. Only the main thread may use this, with nothing to lose.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class StopRequest:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag that long work checks between two steps.

    The first signal sets the flag and puts the previous handlers back, so that a second signal
    ends the process at once. Use it as a context manager, in the main thread. A SIGHUP that is
    ignored (nohup) stays ignored.

    Args:
        grace_s: seconds after which a signal ends the process although the main thread cannot note
            it, because it waits within a library; None for work that must not be cut off.
        notice: what the first signal writes to stderr, at once, whatever the main thread waits for.

    Attributes:
        working: whether there is something to finish; before, a signal ends the process anyway.
        exit_code: 129 after SIGHUP, 130 after SIGINT, 143 after SIGTERM, 0 before any.
    """

    def __init__(self, grace_s: float | None = None, notice: str = "") -> None:
        self.working, self.exit_code = False, 0
        self._grace_s, self._notice = grace_s, notice.encode()
        self._before: dict[signal.Signals, object] = {}
        self._noted, self._left = threading.Event(), threading.Event()
        self._pipe, self._wakeup_before = (-1, -1), -1

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.exit_code != 0

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        if self._is_watched:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._wakeup_before = signal.set_wakeup_fd(self._pipe[1])
            threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        if self._is_watched:
            signal.set_wakeup_fd(self._wakeup_before)
            os.close(self._pipe[1])  # this ends the thread
        self._put_back()

    @property
    def _is_watched(self) -> bool:
        return self._grace_s is not None or bool(self._notice)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        self._noted.set()
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    def _watch(self) -> None:
        """Tell of a signal, and end the process if it has no answer; the body of a thread."""
        with open(self._pipe[0], "rb", buffering=0) as signals:  # noqa: PTH123  # a descriptor
            answer = self._noted
            while number := signals.read(1):  # the interpreter writes them, whatever is blocked
                if number[0] in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.write(2, self._notice)
                    self._notice = b""
                    if self._grace_s is None:
                        continue
                    answered = answer.wait(self._grace_s)
                    if not answered or not (self.working or self._left.wait(self._grace_s)):
                        os.write(2, _CUT_OFF)
                        os._exit(128 + number[0])
                    answer = self._left  # the second signal is to end it
