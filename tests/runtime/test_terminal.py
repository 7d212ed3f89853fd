"""The commands on a terminal: what is drawn, for every kind of source, at every width."""

from __future__ import annotations

import re
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
from p2p_runtime.console import StatusLine, compose_line
from p2p_runtime.video.frames import FrameTask
from terminal import on_terminal, shown, words_of
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


@pytest.mark.parametrize("kind", ["folder", "glob", "stdin", "http", "rtsp"])
def test_fault_106_every_kind_of_source_shows_progress_on_a_terminal(
    bundle: Path,
    frames: list[Image],
    pictures: Path,
    tmp_path: Path,
    web: str,
    kind: str,
) -> None:
    """Folders, globs, pipes, files on the web and streams end without a traceback."""
    stream = write_video(tmp_path / "live.ts", [label_frame(index, 96, 128) for index in range(40)])
    with FakeRTSP(stream.read_bytes()) as server:
        source: list[object] = {
            "folder": [pictures],
            "glob": [f"{pictures}/*.png"],
            "stdin": ["-", "--size", "64x48"],
            "http": [f"{web}/live.ts"],
            "rtsp": [server.url, "--drop", "none"],
        }[kind]
        stdin = b"".join(frame.tobytes() for frame in frames) if kind == "stdin" else None
        model = ("--model", bundle, "--output", "null:", "--threads", "1", "--max-frames", "20")
        code, drawn = on_terminal(
            words_of("p2p-run", *source, *model), folder=tmp_path, stdin=stdin
        )
    assert code == 0, drawn
    pattern = r"frame 20/20, 0:00:00 left" if kind in ("folder", "glob") else r"(frame )?20\b"
    assert re.match(pattern, last_progress(drawn))


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
