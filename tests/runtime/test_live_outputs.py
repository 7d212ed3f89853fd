"""Outputs that stop reading, go away or were never there, and the other outputs beside them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fake_rtsp import FakeRTSP
from p2p_runtime.errors import SinkError
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo
from p2p_runtime.video.sinks import open_sink, parse_output, push
from p2p_runtime.video.sinks.plain import PipeSink, TeeSink
from p2p_runtime.video.sinks.push import StreamSink
from terminal import surroundings, words_of
from toy_runtime import label_frame

Image = NDArray[np.uint8]
VIDEO = VideoInfo(width=640, height=480, fps=10, frame_count=None)
NOISE = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
"""A picture that no codec makes small: a few of them fill every buffer."""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server that accepts a connection and never reads."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(60)
        yield server


@pytest.fixture
def deaf(listening: socket.socket) -> str:
    """Its address, with a password that must never be shown."""
    return f"tcp://me:secret@127.0.0.1:{listening.getsockname()[1]}"


def noise(index: int) -> FrameTask:
    """Return a frame that is large when encoded."""
    return FrameTask(picture=np.roll(NOISE, index * 7, 1), index=index, timestamp_s=index / 10)


def endless(words: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a run that gets noise on stdin; return it, and a list that grows with each frame."""
    taken: list[int] = []
    process = subprocess.Popen(
        words, cwd=folder, env=surroundings(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def feed() -> None:
        assert process.stdin is not None
        try:
            while True:
                process.stdin.write(NOISE.tobytes())
                taken.append(1)
        except OSError:
            return

    threading.Thread(target=feed, daemon=True).start()
    return process, taken


def test_fault_114_a_server_that_stops_reading_is_left(
    deaf: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After the time-out it is told and connected again; frames are counted as missed."""
    monkeypatch.setattr(push, "ANSWER_S", 0.3)
    sink = StreamSink(deaf, VIDEO)
    index = 0
    while not sink.missed:
        sink.write(noise(index))
        index += 1
        assert index < 500
    assert "it took nothing for" in caplog.text
    assert "secret" not in caplog.text
    assert sum(sink.losses().values()) == sink.missed
    sink.abort()


def test_fault_114_a_server_is_given_up_in_the_end(
    deaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it was away for too long, the output fails."""
    monkeypatch.setattr(push, "ANSWER_S", 0.3)
    sink = StreamSink(deaf, VIDEO, reconnect_for_s=0)
    with pytest.raises(SinkError, match=r"tcp://\*\*\*@127.*was lost"):
        for index in range(500):
            sink.write(noise(index))
    sink.abort()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("deaf server", signal.SIGINT),
        ("slow pipe", signal.SIGTERM),
        ("server and file", signal.SIGTERM),
    ],
)
def test_fault_114_a_signal_is_answered_while_an_output_blocks(
    kind: str,
    number: signal.Signals,
    deaf: str,
    listening: socket.socket,
    bundle: Path,
    tmp_path: Path,
) -> None:
    """Neither a server nor a pipe that takes nothing holds the run."""
    output = {
        "deaf server": ["--output", deaf],
        "slow pipe": ["--output", "-"],
        "server and file": ["--output", deaf, "--output", "o.mp4"],
    }[kind]
    words = words_of(
        "p2p-run", "-", "--size", "640x480", "--model", bundle, "--threads", "1", "--drop", "none"
    )
    process, taken = endless([*words, *output], tmp_path)
    with process, contextlib.ExitStack() as stack:
        assert process.stderr is not None
        if kind == "slow pipe":
            assert process.stdout is not None
            process.stdout.read(1)
        else:
            stack.enter_context(listening.accept()[0])  # it is connected, and nothing is read
        before = -1
        while len(taken) != before:  # until every buffer on the way is full
            before = len(taken)
            time.sleep(0.4)
        process.send_signal(number)
        try:
            process.wait(10)
        finally:
            process.kill()
        said = process.stderr.read().decode()
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    if kind == "server and file":
        assert (tmp_path / "o.mp4").stat().st_size > 0


def test_fault_114_a_pipe_is_waited_for_and_then_left(frames: list[Image]) -> None:
    """A slow reader gets every byte; one that reads nothing is left when the run is stopped."""
    read_end, write_end = os.pipe()
    stop: list[bool] = []
    video = VideoInfo(width=64, height=48, fps=10, frame_count=None)
    sink = PipeSink(video, descriptor=write_end, stopping=lambda: bool(stop))
    received: list[bytes] = []

    def read_slowly() -> None:
        while sum(map(len, received)) < 20 * frames[0].nbytes:
            received.append(os.read(read_end, 5000))

    reader = threading.Thread(target=read_slowly)
    reader.start()
    for index, image in enumerate(frames):
        sink.write(FrameTask(picture=image, index=index, timestamp_s=index / 10))
    reader.join(30)
    assert b"".join(received) == b"".join(image.tobytes() for image in frames)
    assert sink.losses() == {}
    stop.append(True)
    for image in frames:
        sink.write(FrameTask(picture=image, index=0, timestamp_s=0))
    assert sink.losses()["stdout"] > 0
    os.close(read_end)
    os.close(write_end)


def test_fault_115_the_recording_goes_on_when_the_server_goes_away(
    bundle: Path,
    save_video: Callable[..., Path],
    tmp_path: Path,
    read_frames: Callable[[Path], list[Image]],
) -> None:
    """Every frame is in the file; the report counts what the server missed; strict is exit 5."""
    frames = [label_frame(index, 96, 128) for index in range(40)]
    raw = b"".join(image.tobytes() for image in frames)
    report = tmp_path / "run.json"
    with FakeRTSP() as server:
        url = server.url
        words = words_of("p2p-run", "-", "--size", "128x96", "--model", bundle, "--threads", "1")
        more = ["--drop", "none", "--output", url, "--output", "o.mp4", "--report", str(report)]
        process = subprocess.Popen(
            [*words, *more, "--strict"], cwd=tmp_path, env=surroundings(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(raw[: len(raw) // 2])
        process.stdin.flush()
        while not server.recorded:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    _, stderr = process.communicate(raw[len(raw) // 2 :] * 10, timeout=60)
    assert process.returncode == 5, stderr
    document = json.loads(report.read_text())
    assert len(read_frames(tmp_path / "o.mp4")) == document["frames_out"] == 220
    (count,) = document["frames_missed"].values()
    assert 0 < count < 220
    assert b"did not get" in stderr
    assert b"secret" not in stderr + report.read_bytes()


class Failing(FrameSink):
    """Takes so many frames."""

    def __init__(self, good: int, error: Exception) -> None:
        self.good, self.error, self.taken, self.ended = good, error, 0, False

    def write(self, task: FrameTask) -> None:
        if self.taken == self.good:
            raise self.error
        self.taken += 1

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True


@pytest.mark.parametrize("error", [SinkError("disk full"), BrokenPipeError()])
def test_fault_115_one_failing_output_does_not_end_the_others(
    error: Exception, frames: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk or a reader that left costs that output; the last one that fails is an error."""
    first, second = Failing(2, error), Failing(5, SinkError("disk full, too"))
    tee = TeeSink({"first": first, "second": second})
    for image in frames[:5]:
        tee.write(FrameTask(picture=image))
    assert (first.taken, second.taken, first.ended) == (2, 5, True)
    assert tee.losses() == {"first": 3}
    assert "the other outputs go on" in caplog.text
    with pytest.raises(SinkError, match="disk full, too"):
        tee.write(FrameTask(picture=frames[0]))


def test_fault_115_a_server_that_comes_back_is_pushed_to_again(
    frames: list[Image], caplog: pytest.LogCaptureFixture
) -> None:
    """A restart of the server costs the frames between, and is told."""
    with FakeRTSP() as server:
        sink = open_sink(
            [parse_output(server.url), parse_output("null:")],
            VideoInfo(width=64, height=48, fps=10),
        )
        sink.write(FrameTask(picture=frames[0], index=0, timestamp_s=0))
    index = 0
    while "lost (" not in caplog.text:
        index += 1
        sink.write(FrameTask(picture=frames[0], index=index, timestamp_s=index / 10))
        time.sleep(0.001)
        assert index < 20_000
    with FakeRTSP(port=server.port) as server:
        while "back after" not in caplog.text:
            index += 1
            sink.write(FrameTask(picture=frames[0], index=index, timestamp_s=index / 10))
            time.sleep(0.01)
        sink.close()
        assert server.recording
    assert sum(sink.losses().values()) > 0
    assert "secret" not in caplog.text
