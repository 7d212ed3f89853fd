"""Several live streams in one process: fair slots, and each ends, fails and counts on its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from commands import Run, invoke
from fake_rtsp import FakeRTSP
from guides import ROOT
from p2p_runtime.app import streams as app
from p2p_runtime.app.run import RunOptions
from p2p_runtime.cli import main
from p2p_runtime.errors import EngineError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.slots import Slot, Slots
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameSink, FrameTask
from p2p_runtime.video.live import LivePolicy, LiveSource
from p2p_runtime.video.sinks import NullSink
from terminal import surroundings
from toy_runtime import Inverter, label_frame, write_video

pytestmark = pytest.mark.usefixtures("no_thread_is_left")
Table = dict[str, object]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Sixty label maps as MPEG-TS, 25 a second."""
    path = tmp_path_factory.mktemp("stream") / "labels.ts"
    return write_video(path, [label_frame(i, 96, 128) for i in range(60)], fps=25).read_bytes()


def write_streams(path: Path, *tables: Table) -> Path:
    """Write a file of streams; JSON's values are TOML's, too."""
    lines = [
        line
        for table in tables
        for line in ("[[stream]]", *(f"{key} = {json.dumps(table[key])}" for key in table))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def p2p_run(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command over streams, with a toy model and a report."""
    monkeypatch.chdir(tmp_path)

    def run(*tables: Table, flags: tuple[str, ...] = ()) -> Result:
        write_streams(tmp_path / "streams.toml", *tables)
        words = ["--streams", "streams.toml", "--model", bundle, "--report", "run.json", *flags]
        return invoke(main, *words)

    return run


def reported(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the streams of the report by name."""
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in document["streams"]}


class Script:
    """A connection that gives pictures, and waits for an event wherever there is one."""

    frame_count, frames_lost, beginning, fps, finite = None, 0, None, 10.0, True

    def __init__(self, steps: Iterator[Any]) -> None:
        self.steps = steps

    def read(self) -> FrameTask | None:
        for step in self.steps:
            if isinstance(step, threading.Event):
                step.wait(30)
                continue
            return FrameTask(picture=step, times_ms={"decode": 1.0})
        raise EOFError

    def close(self) -> None:
        """Nothing is open."""


def live(*steps: Any, drop: Any = "none") -> LiveSource:
    """Return a live source of such pictures."""
    return LiveSource("fake", lambda: Script(iter(steps)), policy=LivePolicy(drop=drop))


def wanted() -> bool:
    """Say that a slot is wanted."""
    return True


def test_slots_are_given_in_the_order_in_which_they_are_asked_for() -> None:
    """Who has had a slot asks anew behind all that wait: nobody has two before another has one."""
    slots, order, until_s = Slots(1), [], time.monotonic() + 10
    first = Slot(slots)
    assert first.take(wanted)

    def use(name: str) -> None:
        slot = Slot(slots)
        for _ in range(3):
            slot.take(wanted)
            order.append(name)
            while len(slots.waiting) < 2 and len(order) < 7 and time.monotonic() < until_s:
                time.sleep(0.001)  # until the others have asked
            slot.give_back()

    threads = [threading.Thread(target=use, args=(name,)) for name in "abc"]
    for count, thread in enumerate(threads, 1):
        thread.start()
        while len(slots.waiting) < count:
            time.sleep(0.001)
    first.give_back()
    for thread in threads:
        thread.join(30)
    assert "".join(order) == "abcabcabc"


def test_a_slot_that_is_not_wanted_any_more_is_nobodys() -> None:
    """Who leaves while it waits takes no slot with it."""
    slots = Slots(1)
    first, second = Slot(slots), Slot(slots)
    assert first.take(wanted)
    assert not second.take(lambda: False)
    first.give_back()
    first.give_back()  # it has none, so nothing is given
    assert second.take(wanted)
    assert not first.take(lambda: False)


def test_a_frame_is_taken_once_it_has_a_slot() -> None:
    """While a stream waits for its slot, newer frames replace the one that waits."""
    more = threading.Event()
    source = live(label_frame(0), more, *map(label_frame, range(1, 6)), drop="latest")

    def take_slot(wanted: Callable[[], bool]) -> bool:
        more.set()
        while source.received < 6:
            time.sleep(0.001)
        return True

    (task,) = source.frames(take_slot)
    source.close()
    assert (task.index, source.received, source.dropped) == (5, 6, 5)


class BlockedSink(NullSink):
    """A sink that takes nothing until it is told to."""

    def __init__(self) -> None:
        self.waits, self.released = threading.Event(), threading.Event()

    def write(self, task: FrameTask) -> None:
        self.waits.set()
        self.released.wait(30)


class BrokenEngine(Inverter):
    """An engine that fails."""

    def infer(self, frames: Any) -> Any:
        raise EngineError("broken")


@pytest.mark.parametrize("trouble", ["sink", "engine"])
def test_a_stream_in_trouble_keeps_no_slot(contract: PixelContract, trouble: str) -> None:
    """While one stream waits for its sink, or once it failed, the other one is translated."""
    slots, sink = Slots(1), BlockedSink()
    frames = [label_frame(index) for index in range(12)]

    def run(engine: Inverter, sink: FrameSink) -> int:
        source = live(*frames)
        try:
            translator = Translator(contract, engine)
            return run_pipeline(source, translator, sink, slot=Slot(slots)).frames_out
        finally:
            source.close()

    done: list[int] = []
    other = threading.Thread(target=lambda: done.append(run(Inverter(), NullSink())), daemon=True)
    if trouble == "engine":
        with pytest.raises(EngineError, match="broken"):
            run(BrokenEngine(), NullSink())
    else:
        threading.Thread(target=run, args=(Inverter(), sink), daemon=True).start()
        assert sink.waits.wait(30)
    other.start()
    other.join(30)
    sink.released.set()
    assert done == [12]


def test_a_stream_alone_has_as_many_frames_in_work_as_workers(contract: PixelContract) -> None:
    """Without others there are no slots, so a model server gets the next frame meanwhile."""
    both = threading.Barrier(2)

    class InPairs(Inverter):
        def infer(self, frames: Any) -> Any:
            both.wait(30)  # for the other frame
            return super().infer(frames)

    source = live(*(label_frame(index) for index in range(6)))
    try:
        translator = Translator(contract, InPairs(), workers=2)
        assert run_pipeline(source, translator, NullSink()).frames_out == 6
    finally:
        source.close()


def test_streams_share_a_model_and_nothing_else(
    p2p_run: Run, stream: bytes, tmp_path: Path, read_frames: Callable[[Path], list[Any]]
) -> None:
    """Each has its outputs, options, figures and fate; the one that fails makes the exit code 5."""
    with FakeRTSP(stream, duration_s=1) as good, FakeRTSP(status=404) as bad:
        result = p2p_run(
            {"name": "north", "video": good.url, "output": "north.mp4", "max-frames": 20},
            {"name": "south", "video": good.url, "output": ["south.mp4", "null:"],
             "max-frames": 10, "side-by-side": True},
            {"name": "lost", "video": bad.url, "output": "null:", "reconnect-for": 0},
        )  # fmt: skip
    assert result.exit_code == 5, result.output
    assert "error: 1 of 3 streams failed: lost" in result.stderr
    assert "secret" not in result.output + (tmp_path / "run.json").read_text(encoding="utf-8")
    frames = {name: read_frames(tmp_path / f"{name}.mp4") for name in ("north", "south")}
    assert {name: (len(some), some[0].shape) for name, some in frames.items()} == {
        "north": (20, (96, 128, 3)), "south": (10, (96, 256, 3)),
    }  # fmt: skip
    streams = reported(tmp_path)
    assert {name: one["status"] for name, one in streams.items()} == {
        "north": "ended", "south": "ended", "lost": "failed",
    }  # fmt: skip
    assert "404" in streams["lost"]["reason"] and streams["lost"]["report"] is None
    for name, count in (("north", 20), ("south", 10)):
        report = streams[name]["report"]
        assert report["frames_translated"] == report["frames_out"] == count
        assert report["frames_in"] == count + report["frames_dropped"]
    table = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in table] == ["stream", "north", "south", "lost"]
    assert [table[1][2], table[1][8].rstrip(":"), table[3][1]] == ["20", "ended", "-"]


def test_a_stream_that_dies_comes_back_alone(p2p_run: Run, stream: bytes, tmp_path: Path) -> None:
    """Its losses are its own, its messages bear its name, and --strict fails for it."""
    with (
        FakeRTSP(stream, duration_s=1) as good,
        FakeRTSP(stream, duration_s=1, close_after=len(stream) // 2) as bad,
    ):
        every: Table = {"output": "null:", "drop": "none"}
        result = p2p_run(
            {"name": "good", "video": good.url, "max-frames": 10, **every},
            {"name": "bad", "video": bad.url, "max-frames": 35, **every},
            flags=("--strict",),
        )
    streams = reported(tmp_path)
    assert streams["bad"]["report"]["reconnects"] >= 1
    assert streams["good"]["report"]["reconnects"] == 0
    assert "warning: bad: rtsp://***@127.0.0.1" in result.stderr
    assert result.exit_code == 5
    assert "error: 1 of 2 streams have losses: bad" in result.stderr


def test_a_source_that_is_absent_at_the_start_is_waited_for(
    p2p_run: Run, stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera that boots after the others is no failure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    failed, done, translate = threading.Event(), threading.Event(), app.translate_source

    def watched(*words: Any) -> Any:
        try:
            return translate(*words)
        finally:
            failed.set()

    def come() -> None:
        failed.wait(60)
        with FakeRTSP(stream, port=port, duration_s=1):
            done.wait(60)

    monkeypatch.setattr(app, "translate_source", watched)
    thread = threading.Thread(target=come)
    thread.start()
    url = f"rtsp://127.0.0.1:{port}/live"
    result = p2p_run({"name": "late", "video": url, "output": "null:", "max-frames": 5})
    done.set()
    thread.join(30)
    assert result.exit_code == 0, result.output
    assert "warning: late: rtsp://127.0.0.1" in result.stderr and "next attempt" in result.stderr
    assert reported(tmp_path)["late"]["report"]["frames_out"] == 5


def test_a_defect_in_one_stream_does_not_end_the_others(
    p2p_run: Run, stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with its traceback, and the stream has failed."""
    translate = app.translate_source

    def failing(options: Any, *more: Any) -> Any:
        if options.output == ("broken.mp4",):
            raise ZeroDivisionError("of mine")
        return translate(options, *more)

    monkeypatch.setattr(app, "translate_source", failing)
    with FakeRTSP(stream, duration_s=1) as server:
        tables = [
            {"name": name, "video": server.url, "output": f"{name}.mp4", "max-frames": 5}
            for name in ("broken", "whole")
        ]
        result = p2p_run(*tables)
    assert result.exit_code == 5
    assert "broken: a defect" in result.stderr and "ZeroDivisionError" in result.stderr
    assert reported(tmp_path)["whole"]["report"]["frames_out"] == 5


CAMERA: Table = {"name": "a", "video": "rtsp://u:secret@127.0.0.1:9/a", "output": "a.mp4"}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([{**CAMERA, "fsp": 3}], "stream a: fsp is not known; use name, video, output, labels"),
        ([{"name": "a", "video": "0"}], "stream a: output is missing"),
        ([{"video": "0", "output": "a.mp4"}], "name stream 1"),
        ([CAMERA, {**CAMERA, "output": "b.mp4"}], "two streams are named a"),
        ([CAMERA, {**CAMERA, "name": "b", "output": "./a.mp4"}], "is an output of both a and b"),
        ([{**CAMERA, "drop": "most"}], "stream a: Invalid value for '--drop'"),
        ([{**CAMERA, "stall-timeout": True}], "stream a: stall-timeout cannot be True"),
        ([{**CAMERA, "overlay": "yes"}], "stream a: overlay cannot be 'yes'"),
        ([{**CAMERA, "output": "-"}], "stream a: - cannot be a stream's output"),
        ([{**CAMERA, "output": "http://me:secret@x/y"}], "cannot push to http://***@x/y"),
        ([{**CAMERA, "video": "streams.toml"}], "streams are cameras and URLs"),
        ([{**CAMERA, "ids": "nothing"}], "stream a: "),
        ([{**CAMERA, "name": f"n{k}", "output": "null:"} for k in range(17)], "takes 1 to 16"),
        ([], "must hold [[stream]] tables"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_before_anything_is_opened(
    p2p_run: Run, tables: list[Table], message: str, tmp_path: Path
) -> None:
    """One line says what to write, without passwords, and nothing is written."""
    result = p2p_run(*tables)
    assert result.exit_code in (2, 3), result.output
    assert message in result.stderr
    assert "secret" not in result.output
    assert not (tmp_path / "a.mp4").exists() and not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("rtsp://127.0.0.1:9/a",), "--streams goes without inputs"),
        (("--output", "b.mp4", "--view", "8080"), "--streams goes without output, view"),
        (("--workers", "2"), "--streams goes without workers"),
    ],
)
def test_flags_for_one_source_do_not_go_with_streams(
    p2p_run: Run, flags: tuple[str, ...], message: str
) -> None:
    """They are refused, as the file has its own."""
    result = p2p_run(CAMERA, flags=flags)
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_a_file_that_is_no_toml_is_told(p2p_run: Run, tmp_path: Path, bundle: Path) -> None:
    """The place of the fault is told."""
    (tmp_path / "other.toml").write_text("[[stream]\n", encoding="utf-8")
    result = invoke(main, "--streams", "other.toml", "--model", bundle)
    assert result.exit_code == 2
    assert "other.toml: " in result.stderr and "line 1" in result.stderr


def test_the_file_of_the_guide_is_read(bundle: Path, tmp_path: Path) -> None:
    """Its keys are flags; those that it leaves out have the values of the command line."""
    guide = (ROOT / "docs/streams.md").read_text(encoding="utf-8")
    path = tmp_path / "cameras.toml"
    path.write_text(guide.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    context = main.make_context("p2p-run", ["--streams", str(path), "--drop", "none"])
    left = {"strict", "doctor", "demo", "video", "help_all"}
    flags = {name: value for name, value in context.params.items() if name not in left}
    streams = app.read_streams(path, RunOptions(**flags, started_s=0), context)
    found = {
        name: (one.ids, one.stall_timeout, one.drop, len(one.output))
        for name, one in streams.items()
    }
    assert found == {
        "north": (None, 10, "none", 1), "south": ("cityscapes-train", 5, "none", 2),
    }  # fmt: skip


def test_one_signal_ends_all_streams(stream: bytes, tmp_path: Path, bundle: Path) -> None:
    """Also the one that never began; every file can be read, the table is printed, 130 is left."""
    with FakeRTSP(stream * 20, duration_s=20) as good, FakeRTSP(silent=True) as silent:
        tables = [
            {"name": "north", "video": good.url, "output": "north.mp4"},
            {"name": "south", "video": good.url, "output": "south.mp4"},
            {"name": "silent", "video": silent.url, "output": "silent.mp4"},
        ]
        write_streams(tmp_path / "streams.toml", *tables)
        words = ["--streams", "streams.toml", "--model", bundle, "--report", "run.json"]
        words += ["--status", "json", "--status-file", "status.json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "p2p_runtime.cli", *map(str, words)], cwd=tmp_path,
            env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s and not all(
            (tmp_path / f"{name}.mp4").exists() for name in ("north", "south")
        ):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert [line.split()[0] for line in stdout.splitlines()[1:]] == ["north", "south", "silent"]
    assert {one["status"] for one in reported(tmp_path).values()} == {"stopped"}
    status = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert set(status["streams"]) == {"north", "south", "silent"}
    assert status["frames"] == sum(status["streams"].values())
