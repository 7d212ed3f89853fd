"""Signals at every moment are answered: quietly, truly, and within two seconds."""

from __future__ import annotations

import json
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from commands import p2p_run
from p2p_runtime.engines import supervised
from p2p_runtime.engines.supervised import SupervisedEngine
from p2p_runtime.errors import EngineError, OutputError, SinkError
from p2p_runtime.interrupts import StopRequest
from p2p_runtime.prefetch import FrameQueue
from p2p_runtime.translate.report import RunReport
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.live import LivePolicy, LiveSource
from p2p_runtime.video.sinks.h264 import VideoFileSink
from terminal import MODULES, surroundings, words_of
from toy_runtime import Inverter

Image = NDArray[np.uint8]
FRAMES = np.zeros((1, 4, 4, 3), np.uint8)
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def started(words: list[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start a command with pipes."""
    return subprocess.Popen(
        words,
        cwd=folder,
        env=surroundings(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", MODULES)
def test_fault_113_ctrl_c_during_the_imports_is_quiet(name: str, tmp_path: Path) -> None:
    """In the first moments the process ends as by SIGTERM, without a traceback."""
    (tmp_path / "click.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
    )
    search = f"{tmp_path}:{surroundings()['PYTHONPATH']}"
    with started(words_of(name), tmp_path, PYTHONPATH=search) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (-signal.SIGINT, "")


def test_fault_113_other_programs_keep_their_handler() -> None:
    """Importing the package changes no signal."""
    code = "import signal, p2p_runtime.cli; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "default_int_handler\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_fault_113_a_signal_before_the_first_frame(
    number: signal.Signals, bundle: Path, tmp_path: Path
) -> None:
    """No file, no word of one, and the signal's exit code."""
    words = words_of("p2p-run", "-", "--size", "64x48", "--model", bundle, "--output", "s.mp4")
    with started(words, tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("device: ")
        while not threads_named(process.pid):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        while process.poll() is None:  # stdin stays open: a source that is silent
            time.sleep(0.01)
        stdout, stderr = process.communicate()
    assert process.returncode == SIGNALS[number], stderr
    assert (stdout, "written" in stderr, "Traceback" in stderr) == ("", False, False)
    assert not (tmp_path / "s.mp4").exists()


def threads_named(pid: int) -> bool:
    """Tell whether the process has more threads than at its start: the source is being opened."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 2


def test_fault_113_what_was_not_written_is_not_said_to_be(
    bundle: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop between opening and the first frame leaves no file, and no word of one."""
    monkeypatch.setattr(StopRequest, "requested", property(lambda stop: True))
    monkeypatch.chdir(tmp_path)
    result = p2p_run(video, "--model", bundle, "--output", "s.mp4")
    assert result.stdout.startswith("nothing was written")
    assert "s.mp4" not in result.output
    assert not (tmp_path / "s.mp4").exists()


def test_fault_113_a_hangup_finishes_the_file(
    bundle: Path, frames: list[Image], tmp_path: Path, read_frames: Callable[[Path], list[Image]]
) -> None:
    """When the terminal goes, the file is whole and the figures are printed."""
    words = words_of("p2p-run", "-", "--size", "64x48", "--model", bundle, "--output", "s.mp4")
    with started(words, tmp_path) as process:
        assert process.stdin is not None
        process.stdin.buffer.write(frames[0].tobytes() * 30)
        process.stdin.flush()
        output = tmp_path / "s.mp4"
        while not (output.exists() and output.stat().st_size):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 129
        assert process.stdout is not None
        count = int(process.stdout.read().split()[0])
    assert len(read_frames(output)) == count > 0


def test_fault_113_nohup_is_respected() -> None:
    """A hangup that was ignored stays ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_fault_113_a_run_that_fails_leaves_a_report(
    bundle: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report tells the error, and what was done before it."""

    def fail(sink: VideoFileSink, task: object) -> None:
        raise SinkError("cannot push to rtmp://host/app/key")

    monkeypatch.setattr(VideoFileSink, "write", fail)
    report = tmp_path / "run.json"
    words = [video, "--model", bundle, "--output", tmp_path / "o.mp4", "--report", report]
    p2p_run(*words, exit_code=3)
    document = json.loads(report.read_text())
    assert document["error"] == "cannot push to rtmp://host/app/***"
    assert document["frames_out"] == 0
    assert document["frames_translated"] > 0


def test_fault_113_a_report_that_fails_hides_no_error(
    bundle: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full takes neither the video nor the report; what the video lost is told."""

    def full(report: RunReport, path: Path) -> None:
        raise OutputError(f"cannot write {path}: No space left on device")

    def fail(sink: VideoFileSink, task: object) -> None:
        raise SinkError("cannot write o.mp4: No space left on device; 7 frames written before")

    monkeypatch.setattr(VideoFileSink, "write", fail)
    monkeypatch.setattr(RunReport, "save", full)
    report = tmp_path / "run.json"
    words = [video, "--model", bundle, "--output", tmp_path / "o.mp4", "--report", report]
    result = p2p_run(*words, exit_code=3)
    assert f"warning: cannot write {report}: No space left on device\n" in result.stderr
    assert result.stderr.endswith("; 7 frames written before\n")


def test_fault_113_a_suspended_process_has_not_hung(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGSTOP and SIGCONT the clock has leapt; the watchdog counts its looks."""

    class Suspended(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now_s[0] += 1000.0
            looks.append(timeout)
            return len(looks) > 4

    now_s, looks = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    watchdog = supervised._Watchdog(lambda: None, 1.0)
    watchdog._ended = Suspended()
    watchdog._running[0] = supervised._Watched(Inverter(), 0, supervised._TICKS)
    watchdog._check()
    assert (len(looks), watchdog.hangs) == (5, 0)


class Camera:
    """Delivers one frame, and others when it is told to."""

    fps, frame_count, finite, frames_lost = 25.0, None, False, 0

    def __init__(self) -> None:
        self.frames: queue.Queue[FrameTask] = queue.Queue()
        self.deliver()

    def deliver(self) -> None:
        self.frames.put(FrameTask(picture=np.zeros((4, 4, 3), np.uint8)))

    def read(self) -> FrameTask | None:
        try:
            return self.frames.get(timeout=0.05)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Nothing to free."""


def test_fault_113_a_camera_is_kept_over_a_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    """The silence while the process was stopped is not the camera's."""
    camera, leap_s = Camera(), [0.0]
    source = LiveSource("camera", lambda: camera, policy=LivePolicy(stall_timeout_s=30))
    frames = iter(source)
    next(frames)
    clock, get = time.monotonic, FrameQueue.get

    def suspended(self: FrameQueue[FrameTask], *words: Any, **more: Any) -> FrameTask | None:
        if not leap_s[0]:
            leap_s[0] = 1000.0
            return None
        camera.deliver()
        return get(self, *words, **more)

    monkeypatch.setattr(time, "monotonic", lambda: clock() + leap_s[0])
    monkeypatch.setattr(FrameQueue, "get", suspended)
    assert next(frames).index == 1
    assert (source.stalls, source.reconnects) == (0, 0)
    source.close()


class Hanging(Inverter):
    """Answers nothing until it is interrupted."""

    def __init__(self) -> None:
        self.interrupted = threading.Event()

    def infer(self, frames: Image) -> Image:
        self.interrupted.wait(60)
        raise EngineError("interrupted")

    def interrupt(self) -> None:
        self.interrupted.set()


@pytest.mark.usefixtures("no_thread_is_left")
def test_fault_144_an_inference_that_hangs_again_and_again_is_given_up() -> None:
    """At 30 s each there are never five in a minute: hangs in a row are counted instead."""
    engine = SupervisedEngine(Hanging(), Hanging, hang_s=0.05)
    with pytest.raises(EngineError, match=r"it hung 3 times in a row"):
        engine.infer(FRAMES)
    engine.close()


@pytest.mark.usefixtures("no_thread_is_left")
def test_fault_144_a_hang_that_is_mended_counts_no_longer() -> None:
    """Only hangs with none between that ends well count."""
    engines = [Hanging(), Hanging(), Inverter(), Hanging(), Hanging(), Inverter()]
    engine = SupervisedEngine(engines.pop(0), lambda: engines.pop(0), hang_s=0.05)
    assert (engine.infer(FRAMES) == 255).all()
    engine.interrupt()
    engine._engine = engines.pop(0)
    assert (engine.infer(FRAMES) == 255).all()
    engine.close()


@pytest.mark.usefixtures("no_thread_is_left")
def test_fault_144_a_golden_frame_that_hangs_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Loop in a model is not waited for at the start, either."""
    monkeypatch.setattr(supervised, "START", 1)
    with pytest.raises(EngineError, match="interrupted"):
        SupervisedEngine(Hanging(), Hanging, check=lambda engine: engine.infer(FRAMES), hang_s=0.05)


@pytest.mark.usefixtures("no_thread_is_left")
def test_fault_144_a_stop_interrupts_an_inference_and_opens_nothing_again() -> None:
    """A run that is told to stop does not wait for the watchdog."""
    engine = SupervisedEngine(Hanging(), Hanging, hang_s=600)
    errors: list[EngineError] = []

    def work() -> None:
        try:
            engine.infer(FRAMES)
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not engine._watchdog._running:
        time.sleep(0.001)
    engine.stop(0.01)
    thread.join(30)
    assert (len(errors), engine.restarts) == (1, 0)
    engine.close()


BLOCKED = """
import hashlib, sys
from p2p_runtime.engines.ort import OrtEngine
calls = []
infer = OrtEngine.infer

def block(engine, frames):
    calls.append(1)
    if len(calls) <= {free}:
        return infer(engine, frames)
    print("blocks", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # no signal ends this call

OrtEngine.infer = block
sys.argv[0] = "p2p-run"
from p2p_runtime.cli import program
program()
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("free", [0, 3], ids=["at the start", "in a worker"])
def test_fault_144_a_signal_ends_a_run_that_blocks_in_a_library(
    free: int, number: signal.Signals, bundle: Path, video: Path, tmp_path: Path
) -> None:
    """Neither the golden frame nor an inference that nothing can end holds the process."""
    words = [sys.executable, "-c", BLOCKED.format(free=free), video, "--model", bundle]
    with started([*map(str, words), "--threads", "1", "--output", "o.mp4"], tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocks\n"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == SIGNALS[number], stderr
    assert "what was written so far can be read" in stderr
    assert "Traceback" not in stderr


def test_fault_113_a_stop_is_acknowledged_while_a_library_is_busy(tmp_path: Path) -> None:
    """The notice does not wait for the step that it is about."""
    code = """if True:
        import hashlib
        from p2p_runtime.interrupts import StopRequest
        with StopRequest(notice="stopping"):
            print("busy", flush=True)
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # an hour without the interpreter
    """
    with started([sys.executable, "-c", code], tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "busy\n"
            process.send_signal(signal.SIGINT)
            assert select.select([process.stderr], [], [], 30.0)[0]
            assert process.stderr.read(8) == "stopping"
        finally:
            process.kill()
