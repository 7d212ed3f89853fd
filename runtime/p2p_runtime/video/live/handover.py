"""The place where a capturing thread leaves items for the thread that works on them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["HandOver"]

T = TypeVar("T")

_POLL_S = 0.1


class HandOver(Generic[T]):
    """Holds a few items; when it is full, the oldest is dropped, or the giver waits.

    Attributes:
        received: items that were given.
        dropped: items that were given and will never be taken.
    """

    def __init__(self, size: int, *, dropping: bool) -> None:
        """Set it up.

        Args:
            size: how many items may wait.
            dropping: drop the oldest to make room, instead of letting the giver wait.
        """
        self.received, self.dropped = 0, 0
        self._size, self._dropping = size, dropping
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T, wanted: Callable[[], bool]) -> bool:
        """Leave an item; return False, without it, once it is closed or no longer wanted."""
        with self._changed:
            while not self._dropping and len(self._items) >= self._size:
                if self._closed or not wanted():
                    return False
                self._changed.wait(_POLL_S)
            if self._closed or not wanted():
                return False
            if len(self._items) >= self._size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self.received += 1
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> T | None:
        """Return the next item, or None when none came in that time or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Refuse everything from now on, and end all waits.

        What still waits was dropped or, where nothing may be dropped, not received.
        """
        with self._changed:
            self._closed = True
            if self._dropping:
                self.dropped += len(self._items)
            else:
                self.received -= len(self._items)
            self._items.clear()
            self._changed.notify_all()
