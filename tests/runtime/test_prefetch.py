"""The queue between threads, and the thread that works ahead: order, counts and errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from p2p_runtime.prefetch import FrameQueue, prefetched

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def test_items_come_in_order() -> None:
    """What goes in comes out, however small the queue."""
    with prefetched(range(1000), size=2) as items:
        assert list(items) == list(range(1000))


def test_it_works_ahead_but_only_so_far() -> None:
    """At most `size` finished items wait, plus the one in the thread's hand."""
    taken = []

    def count() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with prefetched(count(), size=3) as items:
        assert next(items) == 0
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
    with pytest.raises(KeyError, match="third"), prefetched(broken()) as items:
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

    with prefetched(endless(), size=1) as items:
        for _ in items:
            break
    assert closed.is_set()


def test_an_error_in_the_consumer_leaves_no_thread() -> None:
    """The consumer's own error passes through."""
    with pytest.raises(ZeroDivisionError), prefetched(range(100), size=1) as items:
        for item in items:
            _ = 1 // item


def test_stopping_ends_the_iteration_while_the_source_waits() -> None:
    """A source that gives nothing does not keep the consumer from stopping."""
    stop, release = threading.Event(), threading.Event()

    def silent() -> Iterator[int]:
        yield 1
        release.wait(30)

    with prefetched(silent(), stopping=stop.is_set) as items:
        for _ in items:
            stop.set()
        release.set()


def test_two_in_a_row_carry_errors_and_stops() -> None:
    """Chained wrappers, as in a run, pass an error through both threads."""

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("first stage")

    with prefetched(broken()) as first:
        doubled = (2 * item for item in first)
        with pytest.raises(ValueError, match="first stage"), prefetched(doubled) as second:
            assert list(second) == [2]


def test_a_full_queue_keeps_the_latest_items_and_counts_exactly() -> None:
    """Received is taken plus dropped, also for what still waits when it is closed."""
    queue: FrameQueue[int] = FrameQueue(1, drop="latest")
    for number in range(5):
        assert queue.put(number)
    assert queue.get(0) == 4
    assert queue.get(0) is None
    queue.put(5)
    queue.close()
    assert not queue.put(6)
    assert (queue.received, queue.dropped, queue.get(0)) == (6, 5, None)


def test_a_full_queue_that_drops_nothing_blocks_the_producer() -> None:
    """An item that is not wanted any more is not added; what waits at the end was not received."""
    queue: FrameQueue[int] = FrameQueue(2)
    assert queue.put(1)
    assert queue.put(2)
    assert not queue.put(3, lambda: False)
    queue.close()
    assert (queue.received, queue.dropped) == (0, 0)


def test_a_blocked_producer_goes_on_when_an_item_is_taken() -> None:
    """The consumer wakes it; nothing is lost and nothing overtakes."""
    queue: FrameQueue[int] = FrameQueue(1)
    producer = threading.Thread(target=lambda: [queue.put(number) for number in range(50)])
    producer.start()
    assert [queue.get() for _ in range(50)] == list(range(50))
    producer.join()


def test_an_ended_queue_gives_what_waits_and_then_its_error() -> None:
    """The error is raised to every consumer that comes after the last item."""
    queue: FrameQueue[int] = FrameQueue()
    queue.put(1)
    queue.end(KeyError("gone"))
    assert not queue.put(2)
    assert not queue.ended
    assert queue.get() == 1
    assert queue.ended
    for _ in range(2):
        with pytest.raises(KeyError, match="gone"):
            queue.get()
    with pytest.raises(KeyError, match="gone"):
        list(queue.iterate())


def test_an_item_waits_until_it_is_ready() -> None:
    """The first item holds back those behind it; a wake lets the consumer look again."""
    done: set[int] = set()
    queue: FrameQueue[int] = FrameQueue(ready=done.__contains__)
    queue.put(0)
    queue.put(1)
    done.add(1)
    assert queue.get(0) is None
    got: list[int | None] = []
    consumer = threading.Thread(target=lambda: got.extend(queue.get(30) for _ in range(2)))
    consumer.start()
    done.add(0)
    queue.wake()
    consumer.join()
    assert got == [0, 1]


def test_a_consumer_with_something_better_to_do_takes_nothing() -> None:
    """The condition is asked before the items, and again after a wake."""
    queue: FrameQueue[int] = FrameQueue()
    busy = threading.Event()
    asked = threading.Event()

    def unless() -> bool:
        asked.set()
        return busy.is_set()

    got: list[int | None] = []
    consumer = threading.Thread(target=lambda: got.append(queue.get(unless=unless)))
    consumer.start()
    asked.wait()
    busy.set()
    queue.wake()
    consumer.join()
    assert got == [None]
    queue.put(1)
    assert queue.get(unless=unless) is None
    assert queue.waiting == 1
