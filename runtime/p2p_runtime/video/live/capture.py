"""One connection to a live source, and the thread that reads it.

A decoder can block for as long as a camera is silent, and nothing in Python can interrupt it. So
each connection lives in a thread of its own, which may be abandoned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from p2p_runtime.interrupts import UNINTERRUPTIBLE

if TYPE_CHECKING:
    from p2p_runtime.labels.yuv import Picture

__all__ = ["Attempt", "Capture", "Captured"]


@dataclass(frozen=True, slots=True)
class Captured:
    """A picture that has just come.

    Attributes:
        picture: (H, W, 3) uint8 BGR, or the planes of a codec.
        decode_ms: what decoding it took, without the wait for its bytes.
    """

    picture: Picture
    decode_ms: float


class Capture(Protocol):
    """One connection to a live source; made, used and closed in one thread.

    Attributes:
        fps: frames a second, above 0 and finite.
        frame_count: how many frames there will be; None when nobody knows.
        finite: whether its end is the end of the video, and no loss.
        frames_lost: frames that came in part only.
    """

    fps: float
    frame_count: int | None
    finite: bool
    frames_lost: int

    def read(self) -> Captured | None:
        """Return the next picture, or None when none has come yet; may block.

        Raises:
            EOFError: the source ended.
            SourceError: the connection broke.
        """
        ...

    def close(self) -> None:
        """Free the source."""
        ...


class Attempt:
    """An attempt to connect and, if that works, what comes of it.

    Attributes:
        began_s: ``time.monotonic()`` when it began.
        capture: the connection, once there is one.
        error: why it ended; None for a regular end.
        ended: set when its thread has nothing more to give.
    """

    def __init__(
        self, connect: Callable[[], Capture], deliver: Callable[[Attempt, Captured], bool]
    ) -> None:
        """Start the thread.

        Args:
            connect: opens the source; may block.
            deliver: gets each picture, in the thread; returns False when no more are wanted.
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
        """Whether its frames still count."""
        return not self._abandoned.is_set()

    def abandon(self, goodbye_s: float = 0.0) -> None:
        """Ask the thread to end, and wait so long for it; one that blocks is left behind."""
        self._abandoned.set()
        self._thread.join(goodbye_s)

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
                captured = self.capture.read()
                if captured is not None and not self._deliver(self, captured):
                    return
        finally:
            self.capture.close()
