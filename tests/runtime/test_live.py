"""Live sources: the newest wins, every drop is counted, what was lost comes back."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.engines import UninterruptibleEngine
from p2p_runtime.errors import ConfigError, LossesError, SourceError, SourceLostError, StoppedError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.prefetch import FrameQueue
from p2p_runtime.translate.pipeline import check_losses, run_pipeline
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.live import LivePolicy, LiveSource
from p2p_runtime.video.live import source as live_source
from p2p_runtime.video.sinks import NullSink
from p2p_runtime.video.sources.decode import believable_fps

Image = NDArray[np.uint8]
pytestmark = pytest.mark.usefixtures("no_thread_is_left")
Step = Image | Exception | threading.Event | None
FAST = LivePolicy(stall_timeout_s=20, reconnect_for_s=20, first_delay_s=0.01, longest_delay_s=0.02)
"""Reconnects at once, and gives up late."""


class Script:
    """A connection that does one step after the other: a picture, an error, a wait, nothing."""

    frame_count: int | None = None
    frames_lost, beginning = 0, None
    fps = 10.0

    def __init__(self, steps: Iterable[Step], finite: bool = False) -> None:
        self.steps, self.finite, self.closed = iter(steps), finite, False

    def read(self) -> FrameTask | None:
        for step in self.steps:
            if isinstance(step, threading.Event):
                step.wait(30)
                continue
            if isinstance(step, Exception):
                raise step
            return step if step is None else FrameTask(picture=step, times_ms={"decode": 1.0})
        raise EOFError

    def close(self) -> None:
        self.closed = True


def image(level: int, height: int = 48, width: int = 64) -> Image:
    """A picture of one grey level."""
    return np.full((height, width, 3), level, np.uint8)


def connecting(*connections: Script | Exception) -> Callable[[], Script]:
    """Return a function that gives one connection after the other; the last one stays."""
    rest = itertools.chain(connections, itertools.repeat(connections[-1]))

    def connect() -> Script:
        connection = next(rest)
        if isinstance(connection, Exception):
            raise connection
        return connection

    return connect


def levels(source: LiveSource, count: int | None = None) -> list[int]:
    """Return the grey levels of the frames that a source gives."""
    return [int(frame.image[0, 0, 0]) for frame in itertools.islice(source, count)]


class Busy(UninterruptibleEngine):
    """An engine in whose every inference three more frames come."""

    device = "cpu"

    def __init__(self, per_inference: int = 3) -> None:
        self.per_inference, self.source = per_inference, None
        self.due = threading.Semaphore(1)
        self.seen: list[int] = []

    def frames(self, count: int) -> Iterator[Image]:
        """Give pictures as fast as inferences allow."""
        for index in range(count):
            self.due.acquire()
            yield image(index)

    def infer(self, frames: Image) -> Image:
        source: LiveSource = self.source  # type: ignore[assignment]  # the test has set it
        before = source.received
        self.seen.append(int(frames[0, 0, 0, 0]))
        for _ in range(self.per_inference):
            self.due.release()
        while source.received < min(before + self.per_inference, 90):
            threading.Event().wait(0.001)
        return frames

    def close(self) -> None:
        """Nothing to free."""


def test_fault_69_the_newest_frame_wins_and_drops_are_counted(contract: PixelContract) -> None:
    """At three times the engine's speed each inference gets the newest frame; two are dropped."""
    engine = Busy()
    script = Script(engine.frames(90), finite=True)
    policy = replace(FAST, drop="latest")
    source = LiveSource("fake", connecting(script), policy=policy)
    engine.source = source  # type: ignore[assignment]  # a stand-in
    plain = Translator(replace(contract, palette=None), engine, dedupe_threshold_px=None)
    report = run_pipeline(source, plain, NullSink())
    source.close()
    assert engine.seen == [0, *range(3, 90, 3), 89][: len(engine.seen)]
    assert report.frames_in == 90
    assert report.frames_out == report.frames_translated == len(engine.seen)
    assert report.frames_dropped == 90 - len(engine.seen)
    assert len(engine.seen) in (30, 31)
    assert report.stages["latency"]["count"] == report.frames_out


def test_without_drops_the_source_waits() -> None:
    """With --drop none a source far faster than its reader loses no frame."""
    script = Script([image(level) for level in range(100)], finite=True)
    source = LiveSource("fake", connecting(script), policy=replace(FAST, drop="none"))
    assert levels(source) == list(range(100))
    assert (source.received, source.dropped) == (100, 0)
    source.close()


@pytest.mark.parametrize(("finite", "dropped"), [(True, 0), (False, 9)])
def test_what_ends_waits_and_what_does_not_drops(finite: bool, dropped: int) -> None:
    """The default follows the source: a recording loses nothing, a camera gives its newest."""
    hold = threading.Event()
    given = threading.Event()

    def steps() -> Iterator[Step]:
        yield from (image(level) for level in range(10))
        given.set()
        yield hold

    source = LiveSource("fake", connecting(Script(steps(), finite)), policy=FAST)
    while not given.is_set() and not (finite and source.received >= 4):
        threading.Event().wait(0.001)
    assert levels(source, 1) == [0 if finite else 9]
    assert source.dropped == dropped
    hold.set()
    source.close()


def test_fault_65_a_lost_source_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """After an end, an error and two failed attempts frames go on, numbered and timed onwards."""
    hold = threading.Event()
    refused = SourceLostError("refused")
    connect = connecting(
        Script([image(1), image(2)]),
        Script([image(3), SourceLostError("reset")]),
        refused,
        refused,
        Script([image(4), hold]),
    )
    source = LiveSource("cam", connect, policy=replace(FAST, drop="none"))
    with caplog.at_level(logging.WARNING):
        frames = list(itertools.islice(source, 4))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 3, 4]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    times_s = [frame.timestamp_s for frame in frames]
    assert times_s == sorted(times_s)
    assert source.reconnects == 2
    assert [text for text in caplog.text.splitlines() if "lost (reset)" in text]
    assert caplog.text.count("lost (refused)") == 2
    assert caplog.text.count("back after") == 2
    hold.set()
    source.close()


@pytest.mark.usefixtures("soon_stalled")
def test_fault_66_a_silent_connection_is_replaced() -> None:
    """A connection that gives nothing any more is abandoned; what it brings late is not taken."""
    silence, hold = threading.Event(), threading.Event()
    stalled = Script([image(1), silence, image(99)])
    source = LiveSource(
        "cam", connecting(stalled, Script([image(2), hold])), policy=replace(FAST, drop="none")
    )
    frames = iter(source)
    assert [int(next(frames).image[0, 0, 0]) for _ in range(2)] == [1, 2]
    assert (source.stalls, source.reconnects) == (1, 1)
    silence.set()
    while not stalled.closed:
        threading.Event().wait(0.001)
    assert source.received == 2
    hold.set()
    source.close()


def test_a_source_that_stays_away_is_given_up() -> None:
    """When the time to reconnect is over, the error names the source and the last reason."""
    connect = connecting(Script([image(1)]), SourceLostError("refused"))
    source = LiveSource("cam", connect, policy=replace(FAST, reconnect_for_s=0.2))
    with pytest.raises(SourceLostError, match=r"cam was lost .* did not come back: refused"):
        list(source)
    source.close()


def test_a_lost_source_is_reported_after_all(contract: PixelContract) -> None:
    """The sink is closed, the report is whole and says why; then the run fails with exit 6."""
    source = LiveSource(
        "cam", connecting(Script([image(1)])), policy=replace(FAST, reconnect_for_s=0)
    )
    report = run_pipeline(source, Translator(contract, Still()), NullSink())
    source.close()
    assert (report.frames_in, report.frames_out) == (1, 1)
    with pytest.raises(SourceLostError, match="the stream ended") as caught:
        check_losses(report, strict=False)
    assert caught.value.exit_code == 6


class Still(UninterruptibleEngine):
    """An engine that changes nothing."""

    device = "cpu"

    def infer(self, frames: Image) -> Image:
        return frames

    def close(self) -> None:
        """Nothing to free."""


def test_gaps_are_losses_under_strict(contract: PixelContract) -> None:
    """A source that was lost and came back is told, and is a loss under --strict."""
    connect = connecting(Script([image(1)]), Script([image(2)], finite=True))
    source = LiveSource("cam", connect, policy=replace(FAST, drop="none"))
    report = run_pipeline(source, Translator(contract, Still()), NullSink(), max_frames=2)
    source.close()
    assert report.reconnects == 1
    assert ", 1 reconnect in " in report.to_line()
    check_losses(replace(report, off_palette_share=0), strict=False)
    with pytest.raises(LossesError, match=r"came back 1 time$"):
        check_losses(replace(report, off_palette_share=0), strict=True)


@pytest.mark.parametrize("error", [SourceError("holds no ids"), ZeroDivisionError("a defect")])
def test_what_a_reconnect_cannot_mend_ends_the_run(error: Exception) -> None:
    """Errors that are no loss are raised as they are, before and after the first frame."""
    with pytest.raises(type(error), match=str(error)):
        LiveSource("cam", connecting(error), policy=FAST)
    source = LiveSource("cam", connecting(Script([image(1), error])), policy=FAST)
    with pytest.raises(type(error), match=str(error)):
        list(source)
    source.close()


def test_an_opening_source_can_be_stopped() -> None:
    """Nobody waits for the first frame of a silent source once the user has had enough."""
    hold = threading.Event()
    asked = itertools.count()
    with pytest.raises(StoppedError, match="stopped before the first frame"):
        LiveSource(
            "cam", connecting(Script([hold])), policy=LivePolicy(), stopping=lambda: next(asked) > 1
        )
    hold.set()


def test_a_source_without_a_frame_is_no_source() -> None:
    """An end or a silence before the first frame is an error."""
    with pytest.raises(SourceLostError, match="ended before its first frame"):
        LiveSource("cam", connecting(Script([])), policy=FAST)
    hold = threading.Event()
    with pytest.raises(SourceLostError, match=r"no frame for 0\.3 s"):
        LiveSource("cam", connecting(Script([hold])), policy=replace(FAST, stall_timeout_s=0.3))
    hold.set()


def test_fault_78_a_silent_source_does_not_keep_a_run(contract: PixelContract) -> None:
    """Asked to stop, a run ends while its source blocks, with every frame before in the sink."""
    hold, written = threading.Event(), threading.Event()
    source = LiveSource("cam", connecting(Script([image(1), hold])), policy=LivePolicy())
    report = run_pipeline(
        source,
        Translator(contract, Still()),
        NullSink(),
        on_frame=lambda frame: written.set(),
        stopping=written.is_set,
    )
    assert (report.frames_out, report.interrupted) == (1, True)
    hold.set()
    source.close()


def test_a_failing_sink_ends_a_live_run(contract: PixelContract) -> None:
    """An error elsewhere does not wait for the source, either."""
    hold = threading.Event()
    source = LiveSource("cam", connecting(Script([image(1), hold])), policy=LivePolicy())

    def fail(task: FrameTask) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_pipeline(source, Translator(contract, Still()), NullSink(), on_frame=fail)
    hold.set()
    source.close()


def test_fault_61_another_size_after_a_reconnect_keeps_size_and_colours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Frames of a new size come in the first one, without invented colours, and that is told."""
    stripes = image(0, 96, 128)
    stripes[:, ::2] = 200
    hold = threading.Event()
    connect = connecting(Script([image(1)]), Script([stripes, stripes, hold]))
    source = LiveSource("cam", connect, policy=replace(FAST, drop="none"))
    frames = list(itertools.islice(source, 3))
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert set(np.unique(frames[2].image)) <= {0, 200}
    assert "the size changes at frame 1, to 128x96" in caplog.text
    assert caplog.text.count("the size changes") == 1
    hold.set()
    source.close()


def test_fault_70_a_waiting_source_burns_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing comes, the consumer looks ten times a second, not all the time."""
    looks = []

    class Counting(FrameQueue[FrameTask]):
        def get(self, *args: Any, **settings: Any) -> FrameTask | None:
            looks.append(args)
            return super().get(*args, **settings)

    monkeypatch.setattr(live_source, "FrameQueue", Counting)
    hold = threading.Event()
    source = LiveSource("cam", connecting(Script([image(1), hold])), policy=FAST)
    frames = iter(source)
    next(frames)
    looks.clear()
    threading.Timer(0.25, source.interrupt).start()
    assert list(frames) == []
    assert len(looks) <= 6
    hold.set()
    source.close()


def test_delays_double_up_to_a_cap_with_jitter() -> None:
    """Each delay lies in the upper half of its bound, and the bound stops growing."""
    delays_s = LivePolicy(first_delay_s=0.5, longest_delay_s=30).delays_s()
    for attempt in range(2000):
        bound_s = min(0.5 * 2.0 ** min(attempt, 10), 30)
        assert bound_s / 2 <= next(delays_s) <= bound_s
    assert len({next(delays_s) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    "settings",
    [
        {"drop": "oldest"},
        {"stall_timeout_s": 0},
        {"stall_timeout_s": float("nan")},
        {"reconnect_for_s": -1},
    ],
)
def test_impossible_policies_are_refused(settings: dict[str, object]) -> None:
    """A policy is checked when it is made."""
    with pytest.raises(ConfigError):
        LivePolicy(**settings)  # type: ignore[arg-type]  # wrong values are the test


def test_a_rate_that_nobody_believes_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A camera is asked for its rate at each reconnect; another camera is told, too."""
    for name in ("camera 7", "camera 7", "camera 8"):
        assert believable_fps(name, 0) == 25
    assert [line.split(" states")[0] for line in caplog.messages] == ["camera 7", "camera 8"]
