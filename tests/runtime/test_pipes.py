"""Pipes, pushed streams and drawn figures: how p2p-run stands between other programs."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from commands import P2P_RUN
from fake_rtsp import FakeRTSP
from p2p_runtime.app.display import Overlay
from p2p_runtime.errors import SinkError, SourceError
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.sinks import open_sink
from p2p_runtime.video.sinks.plain import PipeSink
from p2p_runtime.video.sinks.push import StreamSink
from p2p_runtime.video.sources.captures import PipeCapture

Image = NDArray[np.uint8]
VIDEO = VideoInfo(width=64, height=48, fps=10, frame_count=None)


def run(arguments: list[object], stdin: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run p2p-run with bytes on stdin."""
    return subprocess.run(
        [*P2P_RUN, *map(str, arguments), "--threads", "1"],
        input=stdin,
        capture_output=True,
        cwd=folder,
        timeout=60,
        check=False,
    )


def test_raw_frames_go_through_pipe_to_pipe(
    bundle: Path, frames: list[Image], tmp_path: Path
) -> None:
    """Every frame on stdin comes out on stdout, pixel for pixel; the figures go to stderr."""
    words = ["--video", "-", "--size", "64x48", "--model", bundle, "--output", "-"]
    done = run(words, b"".join(frame.tobytes() for frame in frames), tmp_path)
    assert done.returncode == 0, done.stderr
    images = np.frombuffer(done.stdout, np.uint8).reshape(-1, 48, 64, 3)
    assert len(images) == 20
    assert b"20 frames in " in done.stderr
    assert list(tmp_path.glob("*-translated*")) == []
    files = run(["--video", "-", "--size", "64x48", "--model", bundle, "--output", "pngs"],
                b"".join(frame.tobytes() for frame in frames), tmp_path)  # fmt: skip
    assert files.returncode == 0, files.stderr
    import cv2

    for index, image in enumerate(images):
        content = np.frombuffer((tmp_path / "pngs" / f"{index:06d}.png").read_bytes(), np.uint8)
        np.testing.assert_array_equal(image, cv2.imdecode(content, cv2.IMREAD_COLOR))


def test_class_ids_on_stdin_are_painted(bundle: Path, frames: list[Image], tmp_path: Path) -> None:
    """One byte a pixel with --labels ids gives what the palette's colours give."""
    from p2p_runtime.labels.palette import CITYSCAPES

    out = []
    for labels, data in (
        ("ids", b"".join(CITYSCAPES.to_ids(frame).tobytes() for frame in frames)),
        ("colour", b"".join(frame.tobytes() for frame in frames)),
    ):
        words = ["--video", "-", "--size", "64x48", "--labels", labels, "--model", bundle]
        done = run([*words, "--output", "-"], data, tmp_path)
        assert done.returncode == 0, done.stderr
        out.append(done.stdout)
    assert out[0] == out[1]
    own = ["ids", "--ids", "own"]
    done = run([*words[:-3], *own, "--model", bundle, "--output", "-"], b"\xc8" * 3072, tmp_path)
    assert b"stdin: id 200 is not one of own" in done.stderr
    assert done.returncode == 2


def test_a_frame_cut_short_is_told_and_a_loss(
    bundle: Path, frames: list[Image], tmp_path: Path
) -> None:
    """Half a frame at the end is not translated; --strict makes it exit 5."""
    words = ["--video", "-", "--size", "64x48", "--model", bundle, "--output", "null:", "--strict"]
    done = run(words, frames[0].tobytes() + frames[1].tobytes()[:5000], tmp_path)
    assert b"stdin ended within a frame: 5000 of 9216 bytes" in done.stderr
    assert b"1 frame could not be read" in done.stderr
    assert done.stdout.startswith(b"1 frame, 1 lost in ")
    assert done.returncode == 5


def read_all(capture: PipeCapture) -> list[FrameTask]:
    """Return all pictures until the pipe ends."""
    pictures = []
    while True:
        try:
            picture = capture.read()
        except EOFError:
            return pictures
        if picture is not None:
            pictures.append(picture)


def test_frames_may_come_in_pieces(frames: list[Image]) -> None:
    """A frame is given once all of its bytes are there, however they came."""
    read_end, write_end = os.pipe()
    capture = PipeCapture(64, 48, 25, None, descriptor=read_end)
    assert capture.read() is None
    data = frames[0].tobytes() + frames[1].tobytes()
    os.write(write_end, data[:5000])
    assert capture.read() is None
    os.write(write_end, data[5000:])
    os.close(write_end)
    images = [task.picture for task in read_all(capture)]
    np.testing.assert_array_equal(images, frames[:2])
    os.close(read_end)


def test_terminals_are_no_pipes() -> None:
    """Neither frames are typed in nor shown as text."""
    leader, follower = pty.openpty()
    with pytest.raises(SourceError, match="stdin is a terminal"):
        PipeCapture(64, 48, 25, None, descriptor=follower)
    with pytest.raises(SinkError, match="stdout is a terminal"):
        PipeSink(VIDEO, descriptor=follower)
    os.close(leader)
    os.close(follower)


def test_a_pipe_refuses_frames_of_another_shape(frames: list[Image]) -> None:
    """A program that counts bytes would lose its place."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    sink = PipeSink(VIDEO, descriptor=descriptor)
    with pytest.raises(SinkError, match="stdout takes frames of"):
        sink.write(FrameTask(picture=frames[0][:40], index=0, timestamp_s=0))
    os.close(descriptor)


def test_fault_79_the_consumer_of_the_frames_leaves(
    bundle: Path, frames: list[Image], tmp_path: Path
) -> None:
    """When the program behind has gone, the run ends quietly with 141."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = ["--video", "-", "--size", "64x48", "--model", bundle, "--output", "-"]
    done = subprocess.run(
        [*P2P_RUN, *map(str, words)],
        input=frames[0].tobytes() * 3,
        stdout=write_end,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert done.returncode == 141, done.stderr
    assert b"Traceback" not in done.stderr


def test_fault_78_a_signal_ends_a_run_whose_pipe_is_silent(
    bundle: Path, frames: list[Image], tmp_path: Path, read_frames: Callable[[Path], list[Image]]
) -> None:
    """A segmenter that hangs does not keep p2p-run: the file is whole, the exit code tells."""
    output = tmp_path / "out.mp4"
    words = ["--video", "-", "--size", "64x48", "--model", bundle, "--output", output]
    with subprocess.Popen(
        [*P2P_RUN, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(frames[0].tobytes() * 30)
        process.stdin.flush()
        while not (output.exists() and output.stat().st_size > 0):
            assert process.poll() is None
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert process.stdout is not None
        count = int(process.stdout.read().split()[0])
    assert len(read_frames(output)) == count > 0


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_stream_is_pushed_over_tcp(frames: list[Image]) -> None:
    """A program that listens gets every frame."""
    url, counts = f"tcp://127.0.0.1:{free_port()}", []

    def listen() -> None:
        with av.open(url, options={"listen": "1"}) as container:
            counts.append(sum(1 for _ in container.decode(video=0)))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    push(url, frames)
    listener.join(30)
    assert counts == [20]


def push(url: str, frames: list[Image]) -> None:
    """Push frames, trying again until somebody listens."""
    for attempt in range(200):
        try:
            sink = open_sink(url, VideoInfo(width=64, height=48, fps=10))
            break
        except SinkError:
            assert attempt < 199
            threading.Event().wait(0.05)
    for index, image in enumerate(frames):
        sink.write(FrameTask(picture=image, index=index, timestamp_s=index / 10))
    sink.close()


def test_a_stream_is_pushed_to_an_rtsp_server(bundle: Path, lossless: Path) -> None:
    """The server is asked to record, and gets about as much as a file would hold."""
    with FakeRTSP() as server:
        words = ["--video", lossless, "--model", bundle, "--output", server.url]
        done = run([*words, "--output", "out.mp4"], b"", bundle.parent)
    assert done.returncode == 0, done.stderr
    assert server.recording
    assert server.recorded > 0.5 * (bundle.parent / "out.mp4").stat().st_size
    assert b"written to rtsp://***@127" in done.stdout


def test_a_server_that_refuses_a_push_is_told() -> None:
    """Nobody there is an error before the first frame, without the password."""
    with pytest.raises(SinkError, match=r"cannot push to rtsp://\*\*\*@127.*Connection refused"):
        StreamSink(f"rtsp://me:secret@127.0.0.1:{free_port()}/x", VIDEO)


def test_a_silent_server_does_not_hold_a_push(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers nothing is an error after a while, where FFmpeg waits for ever."""
    monkeypatch.setattr("p2p_runtime.video.sinks.push.ANSWER_S", 0.3)
    with (
        FakeRTSP(silent=True) as server,
        pytest.raises(SinkError, match=r"rtsp://\*\*\*@127.*no answer for 0\.3 s"),
    ):
        StreamSink(server.url, VIDEO)


def test_the_overlay_draws_on_a_copy() -> None:
    """Figures appear in the upper left, once, white on a dark box; the image itself stays."""
    grey = np.full((240, 320, 3), 128, np.uint8)
    overlay = Overlay()
    for _ in range(3):
        task = FrameTask(picture=grey)
        overlay(task)
    drawn = task.image
    assert (grey == 128).all()
    assert drawn.max() > 220
    text, box = (np.argwhere(drawn[..., 0] > 128), np.argwhere(drawn[..., 0] == 128 // 3))
    assert len(text) > 50
    for axis in (0, 1):  # a dark outline of another width would be a second text beside the first
        assert box[:, axis].min() <= text[:, axis].min()
        assert text[:, axis].max() < box[:, axis].max() < text[:, axis].max() + 12
    assert box[:, 0].max() < 40
    assert not (drawn < 128 // 3).any()


def test_the_overlay_is_written(bundle: Path, lossless: Path, tmp_path: Path) -> None:
    """With --overlay the written frames differ from those without."""
    outputs = []
    for more in ([], ["--overlay"]):
        done = run(["--video", lossless, "--model", bundle, "--output", "-", *more], b"", tmp_path)
        assert done.returncode == 0, done.stderr
        outputs.append(np.frombuffer(done.stdout, np.uint8).reshape(20, -1))
    assert (outputs[0] != outputs[1]).any(axis=1).all()
