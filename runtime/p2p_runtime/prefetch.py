"""A thread that works ahead of whoever iterates: a decoder, while another thread translates."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["POLL_S", "Prefetch", "close"]

T = TypeVar("T")

POLL_S = 0.1
"""Waits are cut into pieces of this length, so that signals and stops are seen promptly."""


class Prefetch(Generic[T]):
    """Takes items from an iterable in a thread of its own, at most ``size`` ahead.

    Use it as a context manager. Leaving the block, early or not, stops the thread, waits for it
    and closes the iterable if that can be closed. An error inside the iterable is raised in the
    iterating thread, after the items that came before it.

    Example::

        with Prefetch(source) as frames:
            for frame in frames:
                ...
    """

    def __init__(
        self, items: Iterable[T], *, size: int = 4, stopping: Callable[[], bool] | None = None
    ) -> None:
        """Set it up; the thread starts with the block.

        Args:
            items: what to work through; only the thread touches it.
            size: how many finished items may wait.
            stopping: asked at least ten times a second; once true, the iteration ends.
        """
        self._items = items
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(size)
        self._stop = threading.Event()
        self._stopping = stopping or (lambda: False)
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        """Start working ahead."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the thread and wait for it; the item that it works on is finished first."""
        self._stop.set()
        while self._thread.is_alive():
            self._thread.join(POLL_S)

    def __iter__(self) -> Iterator[T]:
        """Give the items in order; raise what the iterable raised."""
        while not self._stopping():
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def _work(self) -> None:
        end: BaseException | None = None
        iterator = iter(self._items)
        try:
            for item in iterator:
                if not self._put((item,)):
                    break
        except BaseException as error:  # it crosses to the iterating thread
            end = error
        close(iterator)
        self._put(end)

    def _put(self, item: tuple[T] | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False


def close(iterator: Iterator[object]) -> None:
    """Close an iterator that can be closed: generators can, others need not."""
    if callable(closing := getattr(iterator, "close", None)):
        closing()
