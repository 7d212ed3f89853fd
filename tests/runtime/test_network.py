"""Network streams, against a server on the loopback with the faults of real cameras."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from commands import P2P_RUN
from fake_camera import FakeCamera
from fake_rtsp import FakeRTSP
from p2p_runtime.errors import SourceError, SourceLostError
from p2p_runtime.labels.palette import CAMVID
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.video.frames import FrameSource
from p2p_runtime.video.live import LivePolicy
from p2p_runtime.video.sources import captures, open_source
from p2p_runtime.video.sources.captures import NetworkCapture
from toy_runtime import label_frame, write_video
from toy_sound import write_with_sound

Image = NDArray[np.uint8]
WAITING = LivePolicy(
    drop="none", stall_timeout_s=10, reconnect_for_s=60, first_delay_s=0.05, longest_delay_s=0.1
)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MPEG-TS of 100 label maps of 128 x 96 px, four seconds."""
    frames = [label_frame(index, 96, 128) for index in range(100)]
    path = write_video(tmp_path_factory.mktemp("stream") / "live.ts", frames, fps=25)
    return path.read_bytes()


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def shapes(source: FrameSource, count: int) -> list[tuple[int, ...]]:
    """Return the shapes of the next frames, and close the source."""
    read = [frame.image.shape for frame in itertools.islice(source, count)]
    source.close()
    return read


def test_a_stream_is_read_with_size_and_rate(stream: bytes) -> None:
    """Frames, size and rate are those that the server sends."""
    with FakeRTSP(stream) as server:
        source = open_source(server.url, policy=WAITING)
        info = source.info
        assert (info.width, info.height, info.fps, info.frame_count) == (128, 96, 25.0, None)
        frames = list(itertools.islice(source, 50))
        source.close()
    assert [frame.index for frame in frames] == list(range(50))
    assert all("decode" in frame.times_ms for frame in frames)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "401 Unauthorized"), (404, "404 Not Found"), (500, "5XX Server Error")],
)
def test_fault_64_a_server_that_refuses_is_quoted(status: int, message: str) -> None:
    """The server's reason is told, the password is not, and the exit code is 6."""
    with FakeRTSP(status=status) as server, pytest.raises(SourceLostError) as caught:
        open_source(server.url, policy=WAITING)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "rtsp://***@127.0.0.1" in str(caught.value)
    assert caught.value.exit_code == 6


def test_fault_64_nobody_listens() -> None:
    """A closed port is refused at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"rtsp://user:secret@127.0.0.1:{taken.getsockname()[1]}/live"
        with pytest.raises(SourceLostError, match="Connection refused"):
            open_source(url, policy=WAITING)


def test_a_time_out_is_called_one() -> None:
    """FFmpeg has several names for a time-out; we have one."""
    with (
        FakeRTSP(silent=True) as server,
        pytest.raises(SourceLostError, match=r"was silent for 0\.2 s"),
    ):
        NetworkCapture(server.url, 0.2, None)


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "half-open"])
def test_fault_64_a_silent_server_is_given_up(stream: bytes, silent: bool) -> None:
    """A server that answers nothing, or plays nothing, ends in an error after the time-out."""
    with (
        FakeRTSP(stream, silent=silent, stall_after=0) as server,
        pytest.raises(SourceLostError, match=r"silent for 0\.5 s|no frame for 0\.5 s"),
    ):
        open_source(server.url, policy=replace(WAITING, stall_timeout_s=0.5))


@pytest.mark.parametrize("transports", [("udp",), ("tcp", "udp"), ("tcp",)])
def test_fault_117_a_server_that_sends_by_udp_only_is_read(
    stream: bytes, transports: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """TCP, over which nothing is lost, comes first; after a 461, UDP, and that is told."""
    with FakeRTSP(stream, duration_s=1.5, transports=transports) as server:
        source = open_source(server.url, policy=WAITING)
        assert len(shapes(source, 5)) == 5
    assert ("by UDP only" in caplog.text) == (transports == ("udp",))
    assert "secret" not in caplog.text


def test_fault_117_a_server_that_offers_neither_is_told(stream: bytes) -> None:
    """When UDP is refused, too, the error ends the attempt."""
    with (
        FakeRTSP(stream, transports=()) as server,
        pytest.raises(SourceLostError, match=r"rtsp://\*\*\*@127.*Protocol not supported"),
    ):
        open_source(server.url, policy=WAITING)


def test_fault_65_a_stream_that_dies_is_fetched_back(
    stream: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The server hangs up, is gone for a while, and comes back on its port: frames go on."""
    with FakeRTSP(stream, close_after=len(stream) // 2) as server:
        source = open_source(server.url, policy=WAITING)
        frames = iter(source)
        before = [next(frames) for _ in range(30)]
    with caplog.at_level(logging.WARNING):
        came: list[object] = []
        thread = threading.Thread(target=lambda: came.extend(itertools.islice(frames, 60)))
        thread.start()
        wait_for(lambda: "Connection refused" in caplog.text)
        with FakeRTSP(stream, port=server.port, duration_s=1):
            thread.join(60)
    source.close()
    assert len(before + came) == 90
    assert source.reconnects >= 1  # type: ignore[attr-defined]  # a live source's
    assert "lost (the stream ended)" in caplog.text
    assert "back after" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("soon_stalled")
def test_fault_66_a_stream_that_stalls_is_fetched_back(stream: bytes) -> None:
    """An open connection without frames is replaced, as often as it takes, and counted."""
    with FakeRTSP(stream, stall_after=len(stream) // 2) as server:
        source = open_source(server.url, policy=WAITING)
        assert len(shapes(source, 120)) == 120
    assert source.stalls >= 2  # type: ignore[attr-defined]  # a live source's
    assert server.plays >= 3


@pytest.mark.parametrize("content", ["random", "text", "audio"])
def test_fault_67_what_is_no_video_is_an_error(content: str, tmp_path: Path) -> None:
    """Random bytes, text and sound without pictures end in one clean error."""
    data = {
        "random": np.random.default_rng(0).bytes(200_000),
        "text": b"hello\n" * 40_000,
        "audio": _audio(tmp_path / "a.ts"),
    }[content]
    with FakeRTSP(data) as server, pytest.raises(SourceError) as caught:
        open_source(server.url, policy=WAITING)
    assert "secret" not in str(caught.value)


def _audio(path: Path) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp2", rate=44100)
        for index in range(100):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), layout="stereo")
            frame.sample_rate, frame.pts = 44100, index * 1152
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_fault_67_a_damaged_packet_costs_only_its_frames(
    web: Callable[..., str], save_video: Callable[..., Path], frames: list[Image]
) -> None:
    """What the decoder refuses is skipped; the stream goes on behind it."""
    path = save_video("a.mkv", frames)
    with av.open(str(path)) as container:
        packet = next(itertools.islice(container.demux(), 10, None))
    content = bytearray(path.read_bytes())
    start = content.index(bytes(packet))
    content[start : start + packet.size] = bytes(packet.size)
    source = open_source(web(bytes(content)))
    read = list(source)
    source.close()
    assert 10 <= len(read) < 20
    assert read[-1].image.shape == (48, 64, 3)


def test_fault_67_garbage_within_a_stream_does_not_end_it(stream: bytes) -> None:
    """Behind damaged bytes frames go on, in the same connection."""
    middle = len(stream) // 2 // 188 * 188
    damaged = bytearray(stream * 2)
    damaged[middle : middle + 20 * 188] = np.random.default_rng(0).bytes(20 * 188)
    with FakeRTSP(bytes(damaged)) as server:
        source = open_source(server.url, policy=WAITING)
        assert len(shapes(source, 150)) == 150
    assert server.plays == 1


def test_fault_61_a_size_that_changes_in_mid_stream(
    stream: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames of another size come in the first one by nearest neighbour, and that is told."""
    large = [label_frame(index, 192, 256) for index in range(50)]
    second = write_video(tmp_path / "large.ts", large, fps=25).read_bytes()
    with FakeRTSP(stream + second) as server:
        source = open_source(server.url, policy=WAITING)
        assert set(shapes(source, 140)) == {(96, 128, 3)}
    assert "the size changes at frame" in caplog.text
    assert "to 256x192" in caplog.text


class _Web(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    later: ClassVar[list[bytes]] = []
    connections: ClassVar[list[str | None]] = []  # what each request asks

    def do_GET(self) -> None:
        self.connections.append(self.headers.get("Connection"))
        content = self.files[self.path]
        if self.later:
            self.files[self.path] = self.later.pop(0)
        chunked = self.path.startswith("/chunked")
        kept = self.path.startswith("/kept")
        self.protocol_version = "HTTP/1.1" if chunked or kept else "HTTP/1.0"
        self.close_connection = not kept
        self.send_response(200)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
            if "cut" in self.path:
                content = content[: len(content) // 2]
        elif not self.path.startswith("/close"):
            self.send_header("Content-Length", str(len(content)))
        if content.startswith(b"#EXTM3U"):
            self.send_header("Content-Type", "application/x-mpegURL")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[Callable[..., str]]:
    """Return a function that puts a file on a web server and returns its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def put(content: bytes, name: str = "/file") -> str:
        _Web.files[name] = content
        return f"http://127.0.0.1:{server.server_address[1]}{name}"

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_recording_on_a_web_server_loses_nothing(
    web: Callable[[bytes], str], lossless: Path, frames: list[Image]
) -> None:
    """What has a length is read like a file: every frame, its own time, a regular end."""
    source = open_source(web(lossless.read_bytes()))
    read = list(source)
    source.close()
    np.testing.assert_array_equal([frame.image for frame in read], frames)
    assert [frame.timestamp_s for frame in read] == pytest.approx([i / 10 for i in range(20)])
    assert source.frames_lost == 0


@pytest.mark.parametrize(
    ("way", "suffix"),
    [
        *itertools.product(("/length", "/chunked"), (".ts", ".mkv", ".mp4", ".flv")),
        ("/close", ".ts"),  # short ones of other kinds cannot be opened that way
    ],
)
def test_fault_138_a_recording_without_a_known_length_ends(
    web: Callable[..., str], tmp_path: Path, way: str, suffix: str
) -> None:
    """Whether the server states bytes, ends the last chunk or just hangs up: one end, no loop."""
    path = write_video(tmp_path / f"a{suffix}", [label_frame(index) for index in range(30)])
    content = path.read_bytes()
    if suffix == ".mp4":  # in fragments, which state no duration
        with (
            av.open(str(path)) as whole,
            av.open(
                str(tmp_path / "b.mp4"), "w", options={"movflags": "frag_keyframe+empty_moov"}
            ) as parts,
        ):
            stream = parts.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    parts.mux(packet)
        content = (tmp_path / "b.mp4").read_bytes()
    elif suffix == ".mkv":
        content = content.replace(b"\x44\x89\x88", b"\xec\x8a\x88", 1)  # Void, not Duration
    source = open_source(web(content, f"{way}{suffix}"), policy=WAITING)
    assert len(list(itertools.islice(source, 31))) == 30
    assert source.frames_lost == 0
    source.close()


@pytest.mark.parametrize("way", ["/length", "/kept", "/chunked"])
def test_fault_138_an_index_at_the_end_needs_ranges(
    web: Callable[..., str], tmp_path: Path, way: str
) -> None:
    """Whether the server hangs up or waits: the reason is told, not only that nothing came."""
    noise = list(np.random.default_rng(0).integers(0, 256, (3, 240, 320, 3), np.uint8))
    video = write_video(tmp_path / "a.mp4", noise)  # more than what FFmpeg keeps in memory
    policy = replace(WAITING, stall_timeout_s=1 if way == "/kept" else 60)
    with pytest.raises(
        SourceLostError, match="index at the end needs a server that answers ranges"
    ):
        open_source(web(video.read_bytes(), f"{way}.mp4"), policy=policy)


def test_fault_141_a_chunked_recording_that_breaks_off_is_lost(
    web: Callable[..., str], stream: bytes
) -> None:
    """FFmpeg 9 tells a loss from the end only where the connection may be kept."""
    capture = NetworkCapture(web(stream, "/chunked-cut.ts"), 10, None)
    with pytest.raises(SourceLostError):
        while True:
            capture.read()
    capture.close()
    assert _Web.connections[-1] == "keep-alive"


def test_fault_124_sound_of_streams_is_told_once_and_not_kept(
    web: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that lasts for weeks collects no packets that nobody takes."""
    url = web(write_with_sound(tmp_path / "a.ts", "mp2").read_bytes(), "/sound.ts")
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            capture = NetworkCapture(url, 10, None)
            tracks = []
            with contextlib.suppress(EOFError):
                while capture.read():
                    tracks.append(capture.sound)
            capture.close()
            assert len(tracks) == 50
            assert tracks[0] is not None
            assert not tracks[0].subscribe()
    assert caplog.text.count("its sound is not copied") == 1


def test_fault_138_a_recording_whose_size_is_known_is_read_once(
    web: Callable[..., str], stream: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No frame of it is dropped, and nothing is fetched again."""
    source = open_source(web(stream))
    assert len(list(itertools.islice(source, 101))) == 100
    source.close()
    assert "next attempt" not in caplog.text


def test_fault_138_a_live_stream_that_begins_otherwise_goes_on(
    web: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another picture behind the same URL is no repetition."""
    parts = [
        write_video(
            tmp_path / f"{part}.ts", [label_frame(part + i) for i in range(20)]
        ).read_bytes()
        for part in (0, 5, 9)
    ]
    monkeypatch.setattr(_Web, "later", parts[1:])
    source = open_source(web(parts[0], "/chunked-live"), policy=WAITING)
    assert len(shapes(source, 60)) == 60
    assert source.reconnects == 2  # type: ignore[attr-defined]  # a live source's


def test_fault_104_frames_of_a_web_server_that_nobody_wanted_are_not_lost(
    web: Callable[..., str], video: Path, bundle: Path
) -> None:
    """A recording of which only some frames were asked for has lost none."""
    process = run_command(web(video.read_bytes()), bundle, "--max-frames", 4, "--strict")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert json.loads((bundle.parent / "run.json").read_text())["frames_lost"] == 0


def test_fault_105_a_recording_on_a_web_server_keeps_its_intervals(
    web: Callable[..., str], tmp_path: Path
) -> None:
    """Times come from the file, not from a rate, and begin at 0."""
    steps = [1, 2, 5, 30, 3, 1, 1, 9]
    times = [0, *itertools.accumulate(steps)]
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(label_frame(index), format="bgr24")
            frame.pts = 1000 + pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    source = open_source(web((tmp_path / "a.ts").read_bytes()), policy=WAITING)
    read = [task.timestamp_s for task in source]
    source.close()
    assert read == pytest.approx([pts / 10 for pts in times])


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{video}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{elsewhere}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {video}\n",
    ],
    ids=["hls", "hls-http", "concat"],
)
def test_fault_71_a_server_cannot_send_the_decoder_elsewhere(
    web: Callable[..., str], stream: bytes, content: str, video: Path
) -> None:
    """Playlists that name a local video or another URL, under an innocent name, are refused."""
    text = content.format(video=video, elsewhere=web(stream, "/live.ts"))
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1"):
        open_source(web(text.encode()), policy=WAITING)


def test_a_colour_stream_holds_no_ids(stream: bytes) -> None:
    """`--labels ids` on a colour stream is refused before anything is written."""
    with FakeRTSP(stream) as server, pytest.raises(SourceError, match="lossy codec"):
        open_source(server.url, policy=WAITING, labels=LabelReader(CAMVID, labels="ids"))


def test_fault_68_a_camera_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error lists what is there, and the exit code is 6."""
    with pytest.raises(SourceLostError, match="camera 99 cannot be opened") as caught:
        open_source("99")
    assert caught.value.exit_code == 6
    assert "in /dev" in str(caught.value) or "no camera" in str(caught.value)


def test_a_camera_that_fails_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames go on after the plug was pulled; an impossible rate becomes the default."""
    monkeypatch.setattr(captures.cv2, "VideoCapture", FakeCamera)
    source = open_source("0", policy=WAITING)
    assert source.info.fps == 25
    for index, frame in zip((2, 1, 0, 2, 1), source, strict=False):
        np.testing.assert_array_equal(frame.image, label_frame(index))
    assert source.reconnects == 1  # type: ignore[attr-defined]  # a live source's
    source.close()


def run_command(url: str, bundle: Path, *more: object) -> subprocess.Popen[str]:
    """Start p2p-run on a URL, writing out.mp4 and run.json beside the bundle."""
    arguments = ["--model", bundle, "--output", "out.mp4", "--report", "run.json", "--threads", 1]
    return subprocess.Popen(
        [*P2P_RUN, "--video", url, *map(str, [*arguments, *more])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=bundle.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_fault_65_the_file_stays_one_valid_file_across_gaps(
    stream: bytes, bundle: Path, read_frames: Callable[[Path], list[Image]]
) -> None:
    """After two lost connections one file holds all frames, and the report counts the gaps."""
    with FakeRTSP(stream, close_after=len(stream) // 2) as server:
        process = run_command(server.url, bundle, "--drop", "none", "--max-frames", 120)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert len(read_frames(bundle.parent / "out.mp4")) == 120
    report = json.loads((bundle.parent / "run.json").read_text())
    assert report["reconnects"] == 2
    assert (report["frames_in"], report["frames_dropped"], report["frames_out"]) == (120, 0, 120)
    assert stderr.count("next attempt in") == 2
    assert "secret" not in stderr + json.dumps(report)


def test_fault_66_a_source_that_stays_away_ends_in_a_report_and_exit_6(
    stream: bytes, bundle: Path, read_frames: Callable[[Path], list[Image]]
) -> None:
    """The file is finished and the report printed before the exit code tells of the loss."""
    with FakeRTSP(stream, close_after=len(stream) // 2) as server:
        process = run_command(server.url, bundle, "--reconnect-for", 0, "--drop", "none")
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 6, stderr
    count = int(stdout.splitlines()[-1].split()[0])
    assert len(read_frames(bundle.parent / "out.mp4")) == count > 20
    report = json.loads((bundle.parent / "run.json").read_text())
    assert "did not come back: the stream ended" in report["source_lost"]
    assert "secret" not in stdout + stderr + json.dumps(report)


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize("silent", [True, False], ids=["opening", "stalled"])
def test_fault_78_a_signal_ends_a_run_whose_source_blocks(
    stream: bytes,
    bundle: Path,
    read_frames: Callable[[Path], list[Image]],
    silent: bool,
    number: signal.Signals,
    exit_code: int,
) -> None:
    """Long before any time-out the file is finished and the exit code tells of the signal."""
    output = bundle.parent / "out.mp4"
    with FakeRTSP(stream, silent=silent, stall_after=len(stream) // 2) as server:
        process = run_command(server.url, bundle, "--stall-timeout", 600)
        if silent:
            wait_for(lambda: server.clients > 0)
        else:
            wait_for(lambda: output.exists() and output.stat().st_size > 0)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_code, stderr
    assert "Traceback" not in stderr
    if not silent:
        assert len(read_frames(output)) == int(stdout.splitlines()[-1].split()[0]) > 0
