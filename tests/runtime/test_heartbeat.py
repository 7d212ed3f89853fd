"""Signs of life: JSON lines on request, notifications where systemd listens, else nothing."""

from __future__ import annotations

import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from commands import P2P_RUN, finished, p2p_run
from p2p_runtime.app.heartbeat import Heartbeat, notify_systemd
from p2p_runtime.video.frames import FrameTask


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def frame() -> FrameTask:
    """A frame two seconds into the video."""
    return FrameTask(picture=np.zeros((4, 4, 3), np.uint8), index=9, timestamp_s=2.0)


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket that systemd would listen at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def heard(listening: socket.socket) -> list[str]:
    """Return what was said to systemd since the last time."""
    messages = []
    while True:
        try:
            messages.append(listening.recv(100).decode())
        except BlockingIOError:
            return messages


def test_a_line_of_json_every_five_seconds(frame: FrameTask) -> None:
    """Frames, speed since the last line, memory and descriptors; nothing in between."""
    stream, clock = io.StringIO(), Clock()
    with Heartbeat(stream, clock=clock) as heart:
        for _ in range(20):
            heart.frame(frame)
            heart.beat()
        assert stream.getvalue() == ""
        clock.now_s += 5
        heart.beat()
        heart.beat()
        heart.frame(frame)
    first, last = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["frames"], first["fps"]) == ("status", 20, 4.0)
    assert (first["uptime_s"], first["video_s"]) == (5.0, 2.0)
    assert first["rss_mib"] > 1
    assert first["descriptors"] >= 3
    assert last["frames"] == 21


def test_a_file_holds_the_newest_line(frame: FrameTask, tmp_path: Path) -> None:
    """What a health check reads is whole, and fresh as long as the run goes on."""
    path, clock = tmp_path / "status.json", Clock()
    with Heartbeat(file=path, clock=clock) as heart:
        for uptime_s in (5.0, 10.0):
            heart.frame(frame)
            clock.now_s += 5
            heart.beat()
            assert json.loads(path.read_text())["uptime_s"] == uptime_s
    assert json.loads(path.read_text())["frames"] == 2
    assert [one.name for one in tmp_path.iterdir()] == ["status.json"]


def test_a_file_that_cannot_be_written_ends_no_run(frame: FrameTask, tmp_path: Path) -> None:
    """The folder is gone; the frames go on."""
    clock = Clock()
    with Heartbeat(file=tmp_path / "gone" / "status.json", clock=clock) as heart:
        clock.now_s += 5
        heart.beat()


def test_without_being_asked_nothing_is_written(frame: FrameTask) -> None:
    """The default tells people, not programs."""
    clock = Clock()
    with Heartbeat(clock=clock) as heart:
        clock.now_s += 50
        heart.frame(frame)
        heart.beat()


def test_a_full_stderr_does_not_end_the_run(frame: FrameTask) -> None:
    """Status lines are not worth a failure."""
    clock = Clock()
    with Path("/dev/full").open("w") as full:
        heart = Heartbeat(full, clock=clock)
        clock.now_s += 6
        heart.beat()
        with pytest.raises(OSError, match="No space"):
            full.close()


def test_systemd_hears_of_the_start_the_life_and_the_end(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice in each watchdog period, as sd_watchdog_enabled(3) asks for."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    clock = Clock()
    with Heartbeat(clock=clock) as heart:
        for _ in range(40):
            clock.now_s += 1
            heart.beat()
    assert heard(systemd) == ["READY=1", *["WATCHDOG=1"] * 4, "STOPPING=1"]


def test_only_the_main_thread_is_a_sign_of_life(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading thread that goes on while writing hangs must not hide it."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    clock = Clock()
    heart = Heartbeat(clock=clock)
    clock.now_s += 10
    thread = threading.Thread(target=heart.beat)
    thread.start()
    thread.join()
    assert heard(systemd) == []


@pytest.mark.parametrize("value", ["", "0", "-5", "many"])
def test_without_a_period_there_is_no_watchdog(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Nothing is sent that nobody waits for."""
    monkeypatch.setenv("WATCHDOG_USEC", value)
    clock = Clock()
    heart = Heartbeat(clock=clock)
    clock.now_s += 1000
    heart.beat()
    assert heard(systemd) == []


def test_another_process_of_the_service_is_not_watched(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCHDOG_PID names whom systemd watches."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    clock = Clock()
    heart = Heartbeat(clock=clock)
    clock.now_s += 10
    heart.beat()
    assert heard(systemd) == []


def test_abstract_sockets_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """An @ stands for the NUL byte of Linux' abstract namespace."""
    name = f"p2p-run-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_systemd("READY=1")
        assert heard(listening) == ["READY=1"]


@pytest.mark.parametrize("address", ["", "/no/such/socket", "vsock:2:1"])
def test_nobody_who_listens_is_no_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command runs without systemd."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify_systemd("READY=1")


def test_a_run_tells_programs_and_systemd(bundle: Path, video: Path, tmp_path: Path) -> None:
    """The whole command: a last status line, READY before the frames, STOPPING after them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        result = finished(
            *(*P2P_RUN, "--video", video, "--model", bundle, "--output", "null:"),
            *("--status", "json", "--status-file", tmp_path / "status.json", "--threads", "1"),
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        assert heard(listening) == ["READY=1", "STOPPING=1"]
    lines = [line for line in result.stderr.splitlines() if line.startswith("{")]
    assert json.loads(lines[-1])["frames"] == 20
    assert json.loads((tmp_path / "status.json").read_text())["frames"] == 20


def test_a_status_replaces_no_other_file(bundle: Path, video: Path, tmp_path: Path) -> None:
    """Only an older status makes way; all else is named before the first frame."""
    (tmp_path / "notes.json").write_text('{"frames_in": 1}')
    words = ["--video", video, "--model", bundle, "--output", "null:"]
    done = p2p_run(*words, "--status-file", tmp_path / "notes.json", exit_code=3)
    assert "is no report" in done.stderr
    assert (tmp_path / "notes.json").read_text() == '{"frames_in": 1}'
