"""A bounded queue between threads, a thread that works ahead of its consumer, and how to wait."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Literal, TypeVar

__all__ = ["POLL_S", "FrameQueue", "close_iterator", "growing_delays_s", "prefetched"]

T = TypeVar("T")

POLL_S = 0.1
"""Longest uninterrupted wait in seconds, so that signals and stop requests are noticed promptly."""


class FrameQueue(Generic[T]):
    """A first-in, first-out queue of items other than None; when full, it blocks or drops.

    Attributes:
        received: number of items that were accepted.
        dropped: number of accepted items that no consumer will get.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        drop: Literal["none", "latest"] = "none",
        ready: Callable[[T], bool] | None = None,
    ) -> None:
        """Create an empty queue.

        Args:
            size: maximum number of waiting items; None for no limit.
            drop: what a full queue does: ``none`` blocks the producer, ``latest`` drops the
                oldest item and so keeps the latest ones.
            ready: tells whether the first item may be taken; None for always; see :meth:`wake`.
        """
        self.received, self.dropped = 0, 0
        self._size, self._drop = size, drop
        self._ready = ready or (lambda item: True)
        self._items: deque[T] = deque()
        lock = threading.Lock()
        self._filled, self._freed = threading.Condition(lock), threading.Condition(lock)
        self._closed = False
        self._error: BaseException | None = None

    @property
    def waiting(self) -> int:
        """Number of items that wait."""
        return len(self._items)

    @property
    def ended(self) -> bool:
        """Whether no item is left and none will come."""
        return self._closed and not self._items

    def put(self, item: T, wanted: Callable[[], bool] = lambda: True) -> bool:
        """Add an item; return False, without it, once the queue is closed or it is not ``wanted``.

        A producer that has to wait asks ``wanted`` every :data:`POLL_S`.
        """
        with self._filled:
            while self._drop == "none" and self._full() and not self._closed and wanted():
                self._freed.wait(POLL_S)
            if self._closed or not wanted():
                return False
            if self._full():
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self.received += 1
            if self._ready(self._items[0]):
                self._filled.notify()
            return True

    def get(
        self, timeout_s: float | None = None, *, unless: Callable[[], bool] = lambda: False
    ) -> T | None:
        """Take the first item; return None after the timeout, or when the queue has ended.

        Args:
            timeout_s: longest wait in seconds; None for no limit.
            unless: asked, under the queue's lock, before each look at the items; True ends the
                wait, and nothing is taken.

        Raises:
            BaseException: the error that :meth:`end` was given, when no item is left.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._filled:
            while not unless():
                if self._items and self._ready(self._items[0]):
                    self._freed.notify()
                    return self._items.popleft()
                if self.ended:
                    self._raise_error()
                    return None
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return None
                self._filled.wait(left_s)
        return None

    def iterate(self, stopping: Callable[[], bool] | None = None) -> Iterator[T]:
        """Yield the items until the queue has ended; then raise the error that it ended with.

        ``stopping`` is asked at least every :data:`POLL_S`; True ends the iteration.
        """
        while not (stopping and stopping()):
            item = self.get(POLL_S)
            if item is not None:
                yield item
            elif self.ended:
                self._raise_error()  # it may have come since the time-out
                return

    def wake(self) -> None:
        """Let one waiting consumer look again, because ``ready`` or ``unless`` may have changed."""
        with self._filled:
            if not self._items or self._ready(self._items[0]):
                self._filled.notify()

    def end(self, error: BaseException | None = None) -> None:
        """Announce that no item follows; after those that wait, consumers get ``error`` if any."""
        with self._filled:
            self._closed, self._error = True, error
            self._filled.notify_all()

    def close(self) -> None:
        """Refuse all further items, discard those that wait, and end all waits.

        A discarded item counts as dropped or, where nothing may be dropped, as never received.
        """
        with self._filled:
            self._closed = True
            if self._drop == "latest":
                self.dropped += len(self._items)
            else:
                self.received -= len(self._items)
            self._items.clear()
            self._filled.notify_all()
            self._freed.notify_all()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _full(self) -> bool:
        return self._size is not None and len(self._items) >= self._size


@contextlib.contextmanager
def prefetched(
    items: Iterable[T], *, size: int = 4, stopping: Callable[[], bool] | None = None
) -> Iterator[Iterator[T]]:
    """Take items from an iterable in a thread of its own, and yield an iterator over them.

    At most ``size`` items wait. Leaving the block, early or not, stops the thread after its current
    item and closes the iterable if that can be closed. For errors and ``stopping``, see
    :meth:`FrameQueue.iterate`.
    """
    queue: FrameQueue[T] = FrameQueue(size)
    thread = threading.Thread(target=_fill, args=(queue, iter(items)), name="prefetch", daemon=True)
    thread.start()
    try:
        yield queue.iterate(stopping)
    finally:
        queue.close()
        while thread.is_alive():
            thread.join(POLL_S)


def _fill(queue: FrameQueue[T], iterator: Iterator[T]) -> None:
    error: BaseException | None = None
    try:
        for item in iterator:
            if not queue.put(item):
                break
    except BaseException as raised:  # it crosses to the consuming thread
        error = raised
    close_iterator(iterator)
    queue.end(error)


def growing_delays_s(first_s: float, longest_s: float) -> Iterator[float]:
    """Yield the waits in seconds between attempts, each bounded by twice the one before.

    The upper half is random, so that those who lost the same thing do not come back together.
    """
    while True:
        yield first_s * random.uniform(0.5, 1.0)
        first_s = min(2 * first_s, longest_s)


def close_iterator(iterator: Iterator[object]) -> None:
    """Close an iterator that can be closed: generators can, others need not."""
    if callable(closing := getattr(iterator, "close", None)):
        closing()
