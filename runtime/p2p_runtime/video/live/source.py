"""A live source: supervised and reconnected by the thread that iterates."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from p2p_runtime.errors import SourceLostError, StoppedError
from p2p_runtime.prefetch import POLL_S, FrameQueue
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.size_guard import SizeGuard

from .capture import Attempt, Capture, LivePolicy

__all__ = ["LiveSource"]

_CLOSE_GRACE_S = 0.5
"""Longest wait in seconds for a connection's thread when the source is closed."""

_SUSPENDED_S = 1.0
"""Delay of a short wait in seconds that means that the process was suspended."""

_AHEAD = 4
"""Maximum number of frames that wait when nothing is dropped."""

_log = logging.getLogger(__name__)


class LiveSource:
    """Frames that arrive at their own pace; see :class:`p2p_runtime.video.frames.FrameSource`.

    The thread that iterates only ever waits with a time-out, and checks the connection meanwhile.
    It counts how often a lost source came back, and how often a connection stalled: no frame came.
    """

    info: VideoInfo

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        *,
        policy: LivePolicy,
        stopping: Callable[[], bool] | None = None,
    ) -> None:
        """Connect, and wait for the first frame, unless ``stopping`` returns True.

        ``connect`` is called in a thread of its own, again after each loss.

        Raises:
            SourceError: the source cannot be opened.
            SourceLostError: it does not answer, or no frame comes.
            StoppedError: ``stopping`` returned True.
        """
        self._name, self._connect, self._policy = name, connect, policy
        self.reconnects, self.stalls = 0, 0
        self._index, self._first_s = 0, 0.0
        self._frames: FrameQueue[FrameTask] | None = None
        self._opened, self._interrupted = threading.Event(), threading.Event()
        self._attempt: Attempt | None = Attempt(connect, self._deliver)
        self._last_frame_s = self._attempt.began_s
        self._gap, self._delays_s, self._retry_at_s = False, policy.delays_s(), 0.0
        try:
            self._wait_until_open(self._attempt, stopping or (lambda: False))
        except BaseException:
            self.close()
            raise

    @property
    def frames_lost(self) -> int:
        """Number of frames of a source with an end that could not be read."""
        return self._capture.frames_lost

    @property
    def received(self) -> int:
        """Number of frames that came."""
        return self._frames.received if self._frames else 0

    @property
    def dropped(self) -> int:
        """Number of frames that came and were not yielded; final after :meth:`interrupt`."""
        return self._frames.dropped if self._frames else 0

    @property
    def lost(self) -> bool:
        """Whether the source has gone and is to be reconnected."""
        return self._gap

    def __iter__(self) -> Iterator[FrameTask]:
        """Yield frames until the source ends or :meth:`interrupt` is called."""
        return self.frames(lambda wanted: True)

    def frames(self, take_slot: Callable[[Callable[[], bool]], bool]) -> Iterator[FrameTask]:
        """Yield frames as an iteration does, each taken once ``take_slot`` lets it.

        ``take_slot`` is called when there is a frame, and may wait as long as what it is given
        returns True; a newer frame may replace that frame meanwhile. It returns whether to take it.
        """
        assert self._frames is not None, "__init__ waited for the first frame"
        frames = self._frames
        while not self._interrupted.is_set():
            # Asked first: the last frame may come between the two lines.
            ended = self._attempt is not None and self._attempt.ended.is_set()
            asked_s = time.monotonic()
            frames.get(POLL_S, unless=lambda: frames.waiting > 0)
            ready = frames.waiting and take_slot(lambda: not self._interrupted.is_set())
            task = frames.get(0) if ready else None
            late_s = time.monotonic() - asked_s - POLL_S
            if late_s > _SUSPENDED_S:  # then this process was silent, and not the source
                self._last_frame_s += late_s
            if task is not None:
                self._note_frame()
                yield task
            elif not self._check_connection(ended):
                return

    def interrupt(self) -> None:
        """End the iteration soon, wherever it waits; may be called from any thread."""
        self._interrupted.set()
        if self._frames is not None:
            self._frames.close()

    def close(self) -> None:
        """Release the source; the thread of a connection that blocks is left behind."""
        self.interrupt()
        if self._attempt is not None:
            self._attempt.abandon(_CLOSE_GRACE_S)

    def _wait_until_open(self, attempt: Attempt, stopping: Callable[[], bool]) -> None:
        while not self._opened.wait(POLL_S):
            if stopping():
                raise StoppedError(f"{self._name}: stopped before the first frame")
            if attempt.ended.is_set() and not self._opened.is_set():
                raise attempt.error or SourceLostError(f"{self._name} ended before its first frame")
            # The connection has the same limit, and knows better what it waits for.
            if self._silent_s(attempt) > self._policy.stall_timeout_s + _CLOSE_GRACE_S:
                raise SourceLostError(f"{self._name}: {self._no_frame()}")

    def _deliver(self, attempt: Attempt, task: FrameTask) -> bool:
        """Take a frame, in the connection's thread."""
        if self._frames is None:
            self._frames = self._open(attempt, task)
        if self._repeats(attempt):
            return False
        age_s = task.decoded_s - self._first_s
        task.index = self._index
        if not self._capture.finite:
            task.timestamp_s = age_s
        task.picture = self._guard(task.picture, self._index)
        delivered = self._frames.put(task, lambda: attempt.wanted)
        self._index += delivered
        self._opened.set()
        return delivered

    def _open(self, attempt: Attempt, first: FrameTask) -> FrameQueue[FrameTask]:
        """Note what the first frame shows of all others, and return the queue for them."""
        assert attempt.capture is not None, "the frame came from it"
        self._capture, self._first_s = attempt.capture, first.decoded_s
        height, width = first.picture.shape[:2]
        self.info = VideoInfo(
            width=width, height=height, fps=self._capture.fps, frame_count=self._capture.frame_count
        )
        self._guard = SizeGuard(self._name, width=width, height=height)
        drop = self._policy.drop or ("none" if self._capture.finite else "latest")
        return FrameQueue(1 if drop == "latest" else _AHEAD, drop=drop)

    def _note_frame(self) -> None:
        now_s = time.monotonic()
        if self._gap:
            self.reconnects += 1
            self._delays_s = self._policy.delays_s()
            _log.warning("%s: back after %.1f s", self._name, now_s - self._last_frame_s)
        self._last_frame_s, self._gap = now_s, False

    def _check_connection(self, ended: bool) -> bool:
        """Do what is due while no frame comes; return whether more may come."""
        attempt = self._attempt
        if attempt is None:
            if time.monotonic() >= self._retry_at_s:
                self._attempt = Attempt(self._connect, self._deliver)
        elif ended:
            if attempt.error is None and (self._capture.finite or self._repeats(attempt)):
                return False
            why = str(attempt.error or "the stream ended").removeprefix(self._name).lstrip(": ")
            self._lose(attempt, why, attempt.error)
        elif self._silent_s(attempt) > self._policy.stall_timeout_s:
            self.stalls += 1
            self._lose(attempt, self._no_frame(), None)
        return True

    def _repeats(self, attempt: Attempt) -> bool:
        """Tell whether a new connection begins like the first: a recording, which has ended."""
        first, now = self._capture, attempt.capture
        if now is None or now is first or now.beginning is None:
            return False
        return now.beginning == first.beginning

    def _lose(self, attempt: Attempt, why: str, error: BaseException | None) -> None:
        """Give a connection up, and schedule the next attempt unless it is too late for one."""
        if error is not None and not isinstance(error, SourceLostError):
            raise error
        attempt.abandon()
        self._attempt, self._gap = None, True
        delay_s = next(self._delays_s)
        gone_s = time.monotonic() - self._last_frame_s
        if self._capture.finite or gone_s + delay_s > self._policy.reconnect_for_s:
            raise SourceLostError(
                f"{self._name} was lost {gone_s:.1f} s ago and did not come back: {why}"
            ) from error
        self._retry_at_s = self._last_frame_s + gone_s + delay_s
        _log.warning("%s: lost (%s); next attempt in %.1f s", self._name, why, delay_s)

    def _silent_s(self, attempt: Attempt) -> float:
        return time.monotonic() - max(attempt.began_s, self._last_frame_s)

    def _no_frame(self) -> str:
        return f"no frame for {self._policy.stall_timeout_s:g} s"
