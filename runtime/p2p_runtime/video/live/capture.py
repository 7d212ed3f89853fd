"""One connection to a live source, and the thread that reads it.

A decoder blocks for as long as a camera is silent, and nothing in Python can interrupt it. So each
connection has a thread of its own, which may be abandoned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from p2p_runtime.interrupts import UNINTERRUPTIBLE

if TYPE_CHECKING:
    from p2p_runtime.video.frames import FrameTask

__all__ = ["Attempt", "Capture"]


class Capture(Protocol):
    """One connection to a live source; made, used and closed in one thread.

    Attributes:
        fps: frames a second, above 0 and finite.
        frame_count: expected number of frames; None if unknown.
        finite: whether its end is the end of the video, not a loss.
        frames_lost: number of frames of which only a part came.
    """

    fps: float
    frame_count: int | None
    finite: bool
    frames_lost: int

    def read(self) -> FrameTask | None:
        """Return the next frame, or None if none has come yet; may block.

        The capture fills in the picture, when it was decoded and how long that took without the
        wait for its bytes; the source fills in index and timestamp.

        Raises:
            EOFError: the source ended.
            SourceError: the connection broke.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Attempt:
    """An attempt to connect and, if it succeeds, the connection and its thread.

    Attributes:
        began_s: ``time.monotonic()`` when it began.
        capture: the connection, once there is one.
        error: why it ended; None for a regular end.
        ended: set when its thread delivers nothing more.
    """

    def __init__(
        self, connect: Callable[[], Capture], deliver: Callable[[Attempt, FrameTask], bool]
    ) -> None:
        """Start the thread.

        Args:
            connect: opens the source; may block.
            deliver: gets each frame, in the thread; returns False when no more are wanted.
        """
        self.began_s = time.monotonic()
        self.capture: Capture | None = None
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._connect, self._deliver = connect, deliver
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._work, name=UNINTERRUPTIBLE, daemon=True)
        self._thread.start()

    @property
    def wanted(self) -> bool:
        """Whether its frames are still wanted."""
        return not self._abandoned.is_set()

    def abandon(self, grace_s: float = 0.0) -> None:
        """Ask the thread to end, and wait so long for it; a thread that blocks is left behind."""
        self._abandoned.set()
        self._thread.join(grace_s)

    def _work(self) -> None:
        try:
            self._read_all()
        except EOFError:
            pass
        except BaseException as error:  # it crosses to the thread that wants frames
            self.error = error
        self.ended.set()

    def _read_all(self) -> None:
        self.capture = self._connect()
        try:
            while self.wanted:
                task = self.capture.read()
                if task is not None and not self._deliver(self, task):
                    return
        finally:
            self.capture.close()
