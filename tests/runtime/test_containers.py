"""Videos as containers hold them: damaged, joined, trimmed, turned, with other clocks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from commands import p2p_run
from p2p_runtime.errors import LossesError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.yuv import ColorSpec, YuvFrame, to_bgr
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.pipeline import check_losses, run_pipeline
from p2p_runtime.translate.report import Recorder, RunReport
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.clock import Clock
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.sinks import open_sink
from p2p_runtime.video.sources import open_source, videofile
from p2p_runtime.video.sources.orientation import Orientation
from toy_runtime import Inverter, label_frame, write_video

Image = NDArray[np.uint8]
FRAMES = [label_frame(index) for index in range(100)]
NOISE = np.random.default_rng(0).bytes(4000)


def write_timed(
    path: Path, times: Sequence[int], base: Fraction = Fraction(1, 10), offset: int = 0
) -> Path:
    """Write a frame for each time, in units of ``base``; ``offset`` is added while muxing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 5
        stream.codec_context.time_base = base
        for index, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(FRAMES[index % 100], format="bgr24")
            frame.pts, frame.time_base = pts + offset, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path, **options: bool) -> tuple[list[FrameTask], int]:
    """Return a file's frames, and how many were lost."""
    source = open_source(str(path), **options)  # type: ignore[arg-type]  # only yuv is given
    tasks = list(source)
    source.close()
    return tasks, source.frames_lost


def intervals(tasks: Sequence[FrameTask]) -> list[float]:
    """Return the rounded distances of the frames in seconds."""
    times = [task.timestamp_s for task in tasks]
    return [round(b - a, 3) for a, b in itertools.pairwise(times)]


def translate(path: Path, **options: object) -> RunReport:
    """Run a file through an engine that inverts colours."""
    contract = PixelContract(height=48, width=64, palette=CITYSCAPES)
    source = open_source(str(path), yuv=True)
    sink = open_sink("null:", VideoInfo(width=64, height=48, fps=10))
    report = run_pipeline(source, Translator(contract, Inverter()), sink, **options)  # type: ignore[arg-type]  # tests pick what to change
    source.close()
    return report


@pytest.mark.parametrize(
    ("name", "codec", "count"),
    [
        ("a.mkv", "libx264", 800),
        ("a.mkv", "libx264", 100),
        ("a.ts", "libx264", 800),
        ("a.ts", "libx264", 4000),
        ("a.webm", "libvpx-vp9", 800),
        ("a.webm", "libvpx", 800),
        ("a.flv", "libx264", 800),
        ("a.mp4", "libx264", 800),
    ],
)
def test_fault_101_every_frame_is_there_or_counted(
    tmp_path: Path, name: str, codec: str, count: int
) -> None:
    """Bytes damaged in the middle: what came and what is lost add up, whatever the container."""
    path = write_video(tmp_path / name, FRAMES, codec)
    assert read(path)[1] == 0
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + count] = NOISE[:count]
    path.write_bytes(content)
    tasks, lost = read(path)
    assert lost > 0
    assert len(tasks) + lost == 100


def test_fault_101_a_gap_that_was_recorded_is_no_loss(tmp_path: Path) -> None:
    """Frames that a recorder left out lie in no packet: nothing is missing."""
    times = [*range(20), *range(35, 55), *range(90, 100)]
    for name in ("a.mkv", "a.ts", "a.flv", "a.avi", "a.mp4"):
        tasks, lost = read(write_timed(tmp_path / name, times))
        assert (len(tasks), lost) == (50, 0), name
        assert max(intervals(tasks)) == 3.6


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mjpeg"), ("a.mkv", "ffv1")])
def test_fault_101_an_end_that_is_missing_is_counted(tmp_path: Path, name: str, codec: str) -> None:
    """A copy that was cut off: the frames behind the cut are lost."""
    path = write_video(tmp_path / name, FRAMES, codec)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    tasks, lost = read(path)
    assert 20 < len(tasks) < 80
    assert len(tasks) + lost == 100


def test_fault_101_packets_that_show_nothing_are_no_loss(tmp_path: Path) -> None:
    """Some of VP8 only serve others; no frame is expected of them."""
    path = write_video(tmp_path / "a.webm", FRAMES, "libvpx")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for packet in packets[21:24]:
        start = content.index(bytes(packet))
        content[start] &= ~0x10  # show_frame
    path.write_bytes(content)
    tasks, lost = read(path)
    assert (len(tasks), lost) == (97, 0)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_fault_102_smeared_frames_are_told_and_not_blamed_on_the_palette(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage within a packet: frames up to the next key frame count, and fail under --strict."""
    path = write_video(tmp_path / name, FRAMES, "mpeg4" if name == "a.avi" else "libx264")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        packet = next(p for p in packets[50:] if p.is_keyframe)
    content = bytearray(path.read_bytes())
    start = content.index(bytes(packet)) + packet.size // 2
    content[start : start + packet.size // 3] = NOISE[: packet.size // 3]
    path.write_bytes(content)
    report = translate(path)
    assert 0 < report.frames_damaged < 20
    assert report.off_palette_share is not None
    assert report.off_palette_share < 0.05
    assert "damaged in " in report.to_line()
    with pytest.raises(LossesError, match="from damaged data"):
        check_losses(report, strict=True)
    check_losses(report, strict=False)
    assert "from damaged data" in caplog.text
    tasks, _ = read(path)
    assert not tasks[0].damaged
    assert not tasks[-1].damaged


def test_fault_102_colours_of_damaged_frames_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video that is damaged throughout has no share of wrong colours, and no mismatch."""
    path = write_video(tmp_path / "a.mp4", FRAMES[:20])
    painted: list[object] = []
    monkeypatch.setattr(Recorder, "painted_classes", lambda recorder, ids: painted.append(ids))
    damaged = videofile.FrameTask
    monkeypatch.setattr(
        videofile, "FrameTask", lambda **fields: damaged(**fields | {"damaged": True})
    )
    report = translate(path)
    assert (report.frames_damaged, report.off_palette_share, painted) == (20, None, [])


@pytest.mark.parametrize(("name", "times"), [("a.ts", 2), ("a.ts", 3), ("a.mkv", 2), ("a.mpg", 2)])
def test_fault_103_a_clock_that_starts_again_goes_on(
    tmp_path: Path, name: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Joined: one frame on at each joint, told once, counted, and nothing is lost."""
    codec, fps = ("mpeg2video", 25) if name == "a.mpg" else ("libx264", 10)
    path = write_video(tmp_path / name, FRAMES, codec, fps)
    path.write_bytes(path.read_bytes() * times)
    tasks, lost = read(path)
    assert (len(tasks), lost) == (100 * times, 0)
    assert set(intervals(tasks)) == {1 / fps}
    assert sum(task.clock_jumped for task in tasks) == times - 1
    assert not any(task.damaged for task in tasks)
    assert caplog.text.count("its clock jumps by") == 1
    assert translate(path).clock_jumps == times - 1


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
@pytest.mark.parametrize("gap_s", [7200, 20 * 3600])
def test_fault_103_a_gap_of_hours_is_a_new_zero(tmp_path: Path, name: str, gap_s: int) -> None:
    """Forwards, too, no output lasts for days because a clock was set."""
    times = [*range(20), *range(gap_s * 10, gap_s * 10 + 20)]
    tasks, lost = read(write_timed(tmp_path / name, times))
    assert (len(tasks), lost) == (40, 0)
    assert set(intervals(tasks)) == {0.1}
    assert [task.index for task in tasks if task.clock_jumped] == [20]


def test_fault_103_recordings_of_other_starts_joined(tmp_path: Path) -> None:
    """A second recording that starts at noon, or a second before the first ended."""
    first = write_timed(tmp_path / "a.ts", range(30)).read_bytes()
    for offset in (432_000, 5):
        second = write_timed(tmp_path / "b.ts", range(30), offset=offset).read_bytes()
        path = tmp_path / "c.ts"
        path.write_bytes(first + second)
        tasks, lost = read(path)
        assert (len(tasks), lost) == (60, 0)
        assert set(intervals(tasks)) == {0.1}


def trim(path: Path, first: int, count: int) -> None:
    """Hide frames by the edit list of an MP4, as `ffmpeg -ss ... -c copy` does."""
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12  # behind version, flags and the number of entries
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        assert base is not None
        start = round(first / 10 / base)
    content[at : at + 4] = (count * 100).to_bytes(4, "big")  # in milliseconds
    content[at + 4 : at + 8] = start.to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(("first", "count"), [(45, 55), (43, 50), (0, 60), (12, 30)])
def test_fault_104_what_an_edit_list_hides_is_not_lost(
    tmp_path: Path, first: int, count: int
) -> None:
    """Trimmed without encoding: neither the start, nor the end, nor both are missing."""
    path = write_timed(tmp_path / "a.mp4", range(100))
    trim(path, first, count)
    tasks, lost = read(path)
    assert lost == 0
    assert abs(len(tasks) - count) <= 1
    assert tasks[0].timestamp_s == 0
    assert set(intervals(tasks)) == {0.1}
    check_losses(translate(path), strict=True)


def test_fault_104_a_trimmed_video_that_is_damaged_still_loses(tmp_path: Path) -> None:
    """An edit list hides frames, not losses."""
    path = write_timed(tmp_path / "a.mp4", range(100))
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[70]
        start = packet.pos
    assert start is not None
    content = bytearray(path.read_bytes())
    content[start : start + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    trim(path, 20, 80)
    tasks, lost = read(path)
    assert lost > 0
    assert abs(len(tasks) + lost - 80) <= 1


def test_fault_104_what_was_not_asked_for_is_not_lost(tmp_path: Path) -> None:
    """With fewer frames than the file has, and when a signal ends the run, none is missing."""
    path = write_video(tmp_path / "a.mp4", FRAMES)
    assert translate(path, max_frames=5).frames_lost == 0
    asked = iter(range(10_000))
    assert translate(path, stopping=lambda: next(asked) > 30).frames_lost == 0


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.mkv", 1200),
        ("a.ts", 1200),
        ("a.mov", 1200),
        ("a.mkv", 17_000_000_000),
        ("a.ts", 900_000),
        ("a.ts", -30),
        ("a.mkv", -30),
    ],
)
def test_fault_105_time_begins_with_the_first_frame(tmp_path: Path, name: str, start: int) -> None:
    """A start at 120 s, before 0 or at the time of day: outputs begin at 0 and last as long."""
    tasks, lost = read(write_timed(tmp_path / name, range(30), offset=start))
    assert (len(tasks), lost, tasks[0].timestamp_s) == (30, 0, 0)
    assert tasks[-1].timestamp_s == pytest.approx(2.9)
    assert not any(task.clock_jumped for task in tasks)
    output = tmp_path / "out.mkv"
    sink = open_sink(output, VideoInfo(width=64, height=48, fps=10))
    for task in tasks:
        sink.write(task)
    sink.close()
    with av.open(str(output)) as container:
        assert next(container.decode(video=0)).time == 0


def test_fault_105_a_variable_rate_stays(tmp_path: Path) -> None:
    """Intervals between 20 ms and 5 s arrive as they are."""
    steps = [1, 2, 5, 40, 3, 250, 2, 2, 9, 1] * 3
    times = [0, *itertools.accumulate(steps)]
    for name in ("a.mkv", "a.mp4"):
        tasks, lost = read(write_timed(tmp_path / name, times, Fraction(1, 50)))
        assert lost == 0
        assert intervals(tasks) == [step / 50 for step in steps]


@pytest.mark.parametrize(
    ("times", "expected", "jumps"),
    [
        ([5.0, 5.1, 5.1, 5.2], [0, 0.1, 0.15, 0.2], 0),  # repeated
        ([0.2, 0.1, 0.3, 0.4], [0, 0.05, 0.1, 0.2], 0),  # out of order
        ([None, None, None], [0, 0.1, 0.2], 0),
        ([None, 7.0, None, 7.3], [0, 0.1, 0.2, 0.4], 0),
        ([-3.0, -2.9, -2.8], [0, 0.1, 0.2], 0),
        ([9.0, 9.1, 0.0, 0.1], [0, 0.1, 0.2, 0.3], 1),
        ([0.0, 50.0, 50.1], [0, 0.1, 0.2], 1),
        ([0.0, 9.0, 9.1], [0, 9, 9.1], 0),
    ],
)
def test_fault_105_the_clock_starts_at_0_and_grows(
    times: list[float | None], expected: list[float], jumps: int
) -> None:
    """Whatever times a stream states."""
    clock = Clock("a stream", step_s=0.1)
    assert [clock(time_s, longest_s=10) for time_s in times] == pytest.approx(expected)
    assert clock.jumps == jumps


MATRICES = {
    "upright": ((1, 0, 0, 1), lambda image: image),
    "clockwise": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "upside-down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "anticlockwise": ((0, -1, 1, 0), lambda image: np.rot90(image)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transverse": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).swapaxes(0, 1)),
}


def rotate(path: Path, matrix: tuple[int, ...]) -> None:
    """Write a display matrix into an MP4 of one track."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    numbers = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4")
    content[at : at + 36] = numbers.tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("yuv", [True, False])
@pytest.mark.parametrize("size", [(48, 64), (50, 66), (46, 70)])
def test_fault_94_a_video_is_turned_as_its_matrix_says(
    tmp_path: Path, name: str, yuv: bool, size: tuple[int, int]
) -> None:
    """Quarter turns and flips come before anything else, as BGR and in 4:2:0."""
    matrix, expected = MATRICES[name]
    path = write_video(tmp_path / "a.mp4", [label_frame(index, *size) for index in range(6)])
    stored, _ = read(path, yuv=yuv)
    rotate(path, matrix)
    source = open_source(str(path), yuv=yuv)
    tasks = list(source)
    for before, after in zip(stored, tasks, strict=True):
        assert isinstance(after.picture, YuvFrame) == yuv
        np.testing.assert_array_equal(to_bgr(after.picture), expected(to_bgr(before.picture)))
    height, width = tasks[0].picture.shape[:2]
    assert (source.info.width, source.info.height) == (width, height)
    source.close()


def test_fault_94_blocks_of_odd_sizes_are_not_shifted() -> None:
    """What has blocks that would begin elsewhere is converted first."""
    parts = [np.arange(n, dtype=np.uint8) for n in (35, 12, 12)]
    picture = YuvFrame(
        parts[0].reshape(5, 7), parts[1].reshape(3, 4), parts[2].reshape(3, 4), ColorSpec()
    )
    turned = Orientation(swaps=True, mirrors_x=True)(picture)
    np.testing.assert_array_equal(turned, np.rot90(to_bgr(picture), -1))


def write_wide(path: Path, aspect: Fraction) -> Path:
    """Write a video whose pixels are not square."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for image in FRAMES[:5]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 11), Fraction(8, 9)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_fault_94_the_shape_of_pixels_is_passed_on(
    tmp_path: Path, aspect: Fraction, turned: bool, suffix: str
) -> None:
    """The output is as wide on a screen as the input, also after a quarter turn."""
    path = write_wide(tmp_path / "a.mp4", aspect)
    if turned:
        rotate(path, (0, 1, -1, 0))
    source = open_source(str(path))
    info, expected = source.info, 1 / aspect if turned else aspect
    assert info.pixel_aspect == expected
    output = tmp_path / f"out{suffix}"
    sink = open_sink(output, replace(info, fps=10))
    for task in source:
        sink.write(task)
    sink.close()
    with av.open(str(output)) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


def test_fault_94_the_command_keeps_the_shape_of_pixels(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Side by side, too, and with the matrix of a phone."""
    monkeypatch.chdir(tmp_path)
    write_wide(tmp_path / "a.mp4", Fraction(4, 3))
    rotate(tmp_path / "a.mp4", (0, 1, -1, 0))
    words = ["a.mp4", "--model", bundle, "--output", "b.mp4", "--side-by-side"]
    p2p_run(*words, "--threads", 1)
    with av.open("b.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (96, 64)
        assert stream.sample_aspect_ratio == Fraction(3, 4)


@pytest.mark.parametrize("stated", [None, Fraction(0), Fraction(1000), Fraction(1, 65535)])
def test_fault_94_wild_pixel_shapes_are_square(stated: Fraction | None) -> None:
    """What no camera makes is not passed on."""
    assert videofile.pixel_aspect(SimpleNamespace(sample_aspect_ratio=stated)) == 1
