"""The thread wrapper: order, errors, and that no thread survives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from p2p_runtime.prefetch import Prefetch

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_items_come_in_order() -> None:
    """What goes in comes out, however small the queue."""
    with Prefetch(range(1000), size=2) as items:
        assert list(items) == list(range(1000))


def test_it_works_ahead_but_only_so_far() -> None:
    """At most `size` finished items wait, plus the one in the thread's hand."""
    taken = []

    def count() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with Prefetch(count(), size=3) as items:
        assert next(iter(items)) == 0
        while len(taken) < 5:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(taken) == 5


def test_an_error_crosses_after_the_items_before_it() -> None:
    """The iterating thread gets the items, then the error itself."""

    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("third")

    seen = []
    with pytest.raises(KeyError, match="third"), Prefetch(broken()) as items:
        for item in items:
            seen.append(item)
    assert seen == [1, 2]


def test_an_early_exit_closes_the_iterable() -> None:
    """Leaving the block early stops the thread and runs the generator's clean-up."""
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with Prefetch(endless(), size=1) as items:
        for _ in items:
            break
    assert closed.is_set()


def test_an_error_in_the_consumer_leaves_no_thread() -> None:
    """The consumer's own error passes through."""
    with pytest.raises(ZeroDivisionError), Prefetch(range(100), size=1) as items:
        for item in items:
            _ = 1 // item


def test_stopping_ends_the_iteration_while_the_source_waits() -> None:
    """A source that gives nothing does not keep the consumer from stopping."""
    stop, release = threading.Event(), threading.Event()

    def silent() -> Iterator[int]:
        yield 1
        release.wait(30)

    with Prefetch(silent(), stopping=stop.is_set) as items:
        for _ in items:
            stop.set()
        release.set()


def test_two_in_a_row_carry_errors_and_stops() -> None:
    """Chained wrappers, as in a run, pass an error through both threads."""

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("first stage")

    with Prefetch(broken()) as first:
        doubled = (2 * item for item in first)
        with pytest.raises(ValueError, match="first stage"), Prefetch(doubled) as second:
            assert list(second) == [2]
