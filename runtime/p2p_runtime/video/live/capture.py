"""The settings of live sources, one connection to one, and the thread that reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from p2p_runtime.errors import ConfigError
from p2p_runtime.interrupts import UNINTERRUPTIBLE
from p2p_runtime.prefetch import growing_delays_s
from p2p_runtime.video.frames import FrameTask

__all__ = ["RECONNECT_S", "Attempt", "Capture", "LivePolicy"]

RECONNECT_S = 300.0
"""Seconds after which a source or server that has gone is given up."""

_DROPS = ("none", "latest")


@dataclass(frozen=True, kw_only=True, slots=True)
class LivePolicy:
    """How to treat a live source.

    Attributes:
        drop: ``latest`` keeps the latest frame and counts the others as dropped, ``none`` lets
            the source wait; None means ``none`` for a source with an end, else ``latest``.
        stall_timeout_s: seconds without a frame after which a connection counts as stalled.
        reconnect_for_s: seconds without a frame after which the source is given up.
        first_delay_s, longest_delay_s: bounds of the waits between two attempts to reconnect.

    Raises:
        ConfigError: a value is impossible.
    """

    drop: Literal["none", "latest"] | None = None
    stall_timeout_s: float = 10.0
    reconnect_for_s: float = RECONNECT_S
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0

    def __post_init__(self) -> None:
        if self.drop is not None and self.drop not in _DROPS:
            raise ConfigError(f"drop is {self.drop!r}; use {' or '.join(_DROPS)}")
        if not self.stall_timeout_s > 0:
            raise ConfigError(f"the stall time-out is {self.stall_timeout_s:g} s; use more than 0")
        if not self.reconnect_for_s >= 0:
            raise ConfigError(f"reconnect for {self.reconnect_for_s:g} s; use 0 or more")

    def delays_s(self) -> Iterator[float]:
        """Return the waits before attempts to reconnect, from the first one after a frame on."""
        return growing_delays_s(self.first_delay_s, self.longest_delay_s)


class Capture(Protocol):
    """One connection to a live source; made, used and closed in one thread.

    Attributes:
        fps: frames a second, above 0 and finite.
        frame_count: expected number of frames; None if unknown.
        finite: whether its end is the end of the video, not a loss.
        beginning: fingerprint of its first data where a recording may begin again with each
            connection (a web server that states no length); else None.
        frames_lost: number of frames that could not be read; final at a regular end.
    """

    fps: float
    frame_count: int | None
    finite: bool
    beginning: int | None
    frames_lost: int

    def read(self) -> FrameTask | None:
        """Return the next frame, or None if none has come yet; may block.

        The capture fills in the picture, when it was decoded and how long that took without the
        wait for its bytes, and the timestamp if it is finite; the source fills in the others.

        Raises:
            EOFError: the source ended.
            SourceError: the connection broke.
        """

    def close(self) -> None:
        """Close the connection."""


class Attempt:
    """An attempt to connect and, if it succeeds, the connection and its thread.

    A decoder blocks for as long as a camera is silent, and nothing in Python can interrupt it. So
    each connection has a thread of its own, which may be abandoned. Once that has ``ended``, it
    delivers nothing more; the error is None for a regular end.
    """

    def __init__(
        self, connect: Callable[[], Capture], deliver: Callable[[Attempt, FrameTask], bool]
    ) -> None:
        """Start the thread: ``connect`` may block; ``deliver`` says whether more are wanted."""
        self._connect, self._deliver = connect, deliver
        self.began_s = time.monotonic()
        self.capture: Capture | None = None
        self.error: BaseException | None = None
        self.ended, self._abandoned = threading.Event(), threading.Event()
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
