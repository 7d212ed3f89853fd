"""The commands on a terminal: what is drawn, for every kind of source, at every width."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fake_rtsp import FakeRTSP
from p2p_runtime.app.display import show_progress
from p2p_runtime.console import StatusLine, compose_line, setup_logging
from p2p_runtime.video.frames import FrameTask
from terminal import ROOT, on_terminal, shown, words_of
from toy_runtime import label_frame, write_video

Image = NDArray[np.uint8]


@pytest.mark.parametrize(
    ("suffix", "columns"), [("mp4", 80), ("mp4", 40), ("mkv", 80), ("ts", 60), ("webm", 80)]
)
def test_fault_106_every_container_shows_progress_on_a_terminal(
    bundle: Path,
    frames: list[Image],
    tmp_path: Path,
    suffix: str,
    columns: int,
) -> None:
    """A bar where the number of frames is known, a counter elsewhere; no line is too long."""
    codec = "libvpx" if suffix == "webm" else "libx264"
    video = write_video(tmp_path / f"seg.{suffix}", frames, codec)
    words = words_of("p2p-run", video, "--model", bundle, "--output", "null:", "--threads", "1")
    code, drawn = on_terminal(words, folder=tmp_path, columns=columns)
    assert code == 0, drawn
    last = last_progress(drawn)
    assert len(last) < columns
    if suffix == "mp4":
        assert last.startswith("frame 20/20, 0:00:00 left")
        assert ("frames/s" in last) == (columns == 80)
        assert "[####" in last
    else:
        assert last.startswith("20 frames")
        assert "frames/s" in last


def test_fault_106_more_frames_than_were_announced(
    monkeypatch: pytest.MonkeyPatch, frames: list[Image]
) -> None:
    """A count that turns out too small becomes a counter."""
    drawn: list[str] = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(StatusLine, "show", lambda self, *parts, share=None: drawn.append(parts[0]))
    with show_progress(1) as advance:
        for image in frames[:2]:
            advance(FrameTask(picture=image))
    assert drawn == ["frame 1/1, 0:00:00 left", "2 frames"]


class Terminal(io.StringIO):
    """A terminal on which another thread draws while a warning is written."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text.startswith("warning"):
            drawing = threading.Thread(target=self.line.show, args=("2 frames",))
            drawing.start()
            drawing.join(0.05)
        return super().write(text)


def test_fault_106_a_warning_of_another_thread_has_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The status line makes way until all of the warning is written, then comes back."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        setup_logging()
        with StatusLine() as terminal.line:
            terminal.line.show("1 frames")
            logging.getLogger("p2p_runtime").warning("late")
    assert shown(terminal.getvalue())[:2] == ["1 frames", "warning: late"]


def test_fault_106_the_counter_stays_while_no_frame_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands below what is told of a source that is lost."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        setup_logging()
        with StatusLine() as line:
            line.show("1 frames")
            logging.getLogger("p2p_runtime").info("lost")
            assert shown(terminal.getvalue()) == ["1 frames", "lost", "1 frames"]


def last_progress(drawn: str) -> str:
    """Return the last line of progress; there must not be a traceback."""
    assert "Traceback" not in drawn, drawn
    return [line for line in shown(drawn) if re.match(r"(frame )?\d+(/\d+| frames)", line)][-1]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of the test's folder."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *words: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def fake_camera(*words: object) -> list[str]:
    """Return what starts p2p-run with a fake camera."""
    return [sys.executable, str(ROOT / "tests" / "toys" / "fake_camera.py"), *map(str, words)]


@contextlib.contextmanager
def sent_by_udp(stream: bytes) -> Iterator[str]:
    """Send a stream again and again to the URL that is yielded."""
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        port = datagrams.getsockname()[1]

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            for place in itertools.cycle(range(0, len(stream), 1316)):
                datagrams.sendto(stream[place : place + 1316], ("127.0.0.1", port))
                if stop.wait(0.01):
                    return

    sender = threading.Thread(target=send)
    sender.start()
    yield f"udp://127.0.0.1:{port}"
    stop.set()
    sender.join()


KINDS = ["folder", "glob", "picture", "pictures", "stdin", "http", "rtsp", "udp", "camera"]


@pytest.mark.parametrize("kind", KINDS)
def test_fault_106_every_kind_of_source_shows_progress_on_a_terminal(
    bundle: Path,
    frames: list[Image],
    pictures: Path,
    tmp_path: Path,
    web: str,
    kind: str,
) -> None:
    """Pictures, pipes, files on the web, streams and cameras end without a traceback."""
    stream = write_video(tmp_path / "live.ts", [label_frame(index, 96, 128) for index in range(40)])
    content, count = stream.read_bytes(), {"picture": 1, "pictures": 3, "camera": 5}.get(kind, 20)
    with FakeRTSP(content) as server, sent_by_udp(content) as udp:
        source: list[object] = {
            "folder": [pictures],
            "glob": [f"{pictures}/*.png"],
            "stdin": ["-", "--size", "64x48"],
            "http": [f"{web}/live.ts"],
            "rtsp": [server.url, "--drop", "none"],
            "udp": [udp],
            "camera": ["0"],
            "picture": [pictures / "frame0.png"],
            "pictures": [pictures / f"frame{index}.png" for index in range(3)],
        }[kind]
        stdin = b"".join(frame.tobytes() for frame in frames) if kind == "stdin" else None
        model = ("--model", bundle, "--output", "null:", "--threads", "1", "--max-frames", count)
        words = fake_camera if kind == "camera" else partial(words_of, "p2p-run")
        code, drawn = on_terminal(words(*source, *model), folder=tmp_path, stdin=stdin)
    assert code == 0, drawn
    last = last_progress(drawn)
    assert last.startswith(f"frame {count}/{count}, 0:00:00 left  [####")
    assert len(last) < 80
    lost = [line for line in shown(drawn) if "lost" in line]
    assert all(line.startswith("warning: ") for line in lost)
    assert bool(lost) == (kind == "camera")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (60, "step 5/10, 0:01 left  [##########---------]  9 images/s  G 1"),
        (49, "step 5/10, 0:01 left  [####----]  9 images/s  G 1"),
        (46, "step 5/10, 0:01 left  [#####-----]  9 images/s"),
        (36, "step 5/10, 0:01 left  [######------]"),
        (30, "step 5/10, 0:01 left"),
        (10, "step 5/10, 0:01 left"),
    ],
)
def test_what_is_cut_where_the_terminal_is_narrow(columns: int, expected: str) -> None:
    """The bar shrinks first, then the figures go from the last one on, then the bar."""
    line = compose_line(columns, "step 5/10, 0:01 left", ["9 images/s", "G 1"], 0.5)
    assert line == expected
