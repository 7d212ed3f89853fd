"""Sinks: nothing is written over, nothing is lost in silence."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.errors import SinkError
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo
from p2p_runtime.video.sinks import h264, open_sink, parse_output
from p2p_runtime.video.sinks.images import ImageFolderSink
from p2p_runtime.video.sources import open_source

Image = NDArray[np.uint8]
VIDEO = VideoInfo(width=64, height=48, fps=10)


def as_frames(images: list[Image], fps: float = 10) -> Iterator[FrameTask]:
    """Number pictures and give them times."""
    for index, image in enumerate(images):
        yield FrameTask(picture=image, index=index, timestamp_s=index / fps)


def open_video(path: Path, **settings: object) -> FrameSink:
    """Open a sink for the frames of the fixtures."""
    sizes = {"width": 64, "height": 48, "fps": 10.0}
    sizes |= {name: settings.pop(name) for name in ("width", "height", "fps") if name in settings}
    video = VideoInfo(**sizes)  # type: ignore[arg-type]  # tests pick what to change
    return open_sink(path, video, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["udp://127.0.0.1", "tcp://cam/x", "udp://me:secret@cam:70000"])
def test_a_server_without_a_port_is_refused(url: str) -> None:
    """FFmpeg would send to nobody, without an error."""
    with pytest.raises(SinkError, match=r"no port; write|a port is below") as caught:
        parse_output(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_video_holds_the_frames_that_were_written(
    tmp_path: Path, frames: list[Image], read_frames: Callable[[Path], list[Image]], suffix: str
) -> None:
    """All frames come back, in order and close to what they were."""
    path = tmp_path / f"out{suffix}"
    sink = open_video(path)
    for frame in as_frames(frames):
        sink.write(frame)
    sink.close()
    read = np.array(read_frames(path), np.int16)
    assert len(read) == 20
    assert np.abs(read - np.array(frames, np.int16)).mean() < 8


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(15), Fraction(25, 2)])
def test_the_frame_rate_and_the_times_are_exact(
    tmp_path: Path, frames: list[Image], fps: Fraction
) -> None:
    """NTSC rates stay fractions, and each frame keeps its own time."""
    path = tmp_path / "out.mp4"
    sink = open_video(path, fps=float(fps))
    times_s = [0.0, 0.1, 0.35, 0.4]
    for frame, time_s in zip(as_frames(frames), times_s, strict=False):
        sink.write(FrameTask(picture=frame.image, index=frame.index, timestamp_s=time_s))
    sink.close()
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.framerate == fps
        read_s = [frame.time for frame in container.decode(video=0)]
    assert read_s == pytest.approx(times_s, abs=1e-3)


def test_time_that_stands_still_or_runs_back_is_mended(
    tmp_path: Path, frames: list[Image], read_frames: Callable[[Path], list[Image]]
) -> None:
    """Doubled and backward times of a source do not cost a frame."""
    sink = open_video(tmp_path / "out.mp4")
    for time_s in (0.0, 0.5, 0.5, 0.2):
        sink.write(FrameTask(picture=frames[0], index=0, timestamp_s=time_s))
    sink.close()
    assert len(read_frames(tmp_path / "out.mp4")) == 4


def test_fault_73_the_place_is_checked_before_the_first_frame(
    tmp_path: Path, video: Path, pictures: Path
) -> None:
    """A missing folder, the input, an existing file and an unknown suffix are errors at once."""
    before = video.read_bytes()
    with pytest.raises(SinkError, match="No such file or directory"):
        open_video(tmp_path / "missing" / "out.mp4")
    with pytest.raises(SinkError, match="is the input"):
        open_video(video, source=video, overwrite=True)
    (tmp_path / "alias.mp4").symlink_to(video)
    with pytest.raises(SinkError, match="is the input"):
        open_video(tmp_path / "alias.mp4", source=video, overwrite=True)
    with pytest.raises(SinkError, match="give --overwrite"):
        open_video(video)
    with pytest.raises(SinkError, match=r"\.gif is not known"):
        open_sink(tmp_path / "out.gif", VIDEO)
    with pytest.raises(SinkError, match="is the input"):
        ImageFolderSink(pictures, source=pictures, overwrite=True)
    with pytest.raises(SinkError, match="is not empty; give --resume"):
        ImageFolderSink(pictures)
    with pytest.raises(SinkError, match="is not a folder"):
        ImageFolderSink(video)
    assert video.read_bytes() == before


def test_fault_73_overwrite_replaces(
    video: Path, frames: list[Image], read_frames: Callable[[Path], list[Image]]
) -> None:
    """With --overwrite a longer file leaves nothing behind."""
    sink = open_video(video, overwrite=True)
    for frame in as_frames(frames[:3]):
        sink.write(frame)
    sink.close()
    assert len(read_frames(video)) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_fault_73_a_folder_without_permission(tmp_path: Path) -> None:
    """A folder that may not be written in is an error at once."""
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="Permission denied"):
        open_video(tmp_path / "out.mp4")


def test_fault_74_odd_sizes_are_padded_and_said(
    tmp_path: Path, read_frames: Callable[[Path], list[Image]], caplog: pytest.LogCaptureFixture
) -> None:
    """255 x 255 px becomes 256 x 256 with the last row and column doubled."""
    ramp = np.repeat(np.arange(255, dtype=np.uint8)[None, :, None], 255, 0).repeat(3, 2)
    sink = open_video(tmp_path / "out.mp4", width=255, height=255)
    sink.write(FrameTask(picture=ramp, index=0, timestamp_s=0))
    sink.close()
    (image,) = read_frames(tmp_path / "out.mp4")
    assert image.shape == (256, 256, 3)
    assert np.abs(image[:255, :255].astype(int) - ramp).max() <= 8
    assert np.abs(image[:, 255].astype(int) - 254).max() <= 8
    assert "255x255 px is odd" in caplog.text


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 66, 3), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
    ],
)
def test_fault_75_a_frame_of_another_shape_is_refused(tmp_path: Path, image: Image) -> None:
    """A frame of another size, type or depth raises instead of vanishing."""
    sink = open_video(tmp_path / "out.mp4")
    with pytest.raises(SinkError, match="takes frames of"):
        sink.write(FrameTask(picture=image, index=0, timestamp_s=0))
    sink.abort()
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_that_lost_frames_is_not_finished(
    tmp_path: Path, frames: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames in the finished file are counted, and a difference is an error."""
    sink = open_video(tmp_path / "out.mp4")
    for frame in as_frames(frames):
        sink.write(frame)
    monkeypatch.setattr(h264, "count_frames", lambda path: 19)
    with pytest.raises(SinkError, match="holds 19 frames, not the 20 written"):
        sink.close()


def test_fault_76_a_full_disk_is_told_with_the_count(tmp_path: Path) -> None:
    """When the file may not grow, the error counts the frames, and most of them are readable."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8)
    path = tmp_path / "out.mp4"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sink = open_video(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        with pytest.raises(SinkError, match=r"File too large; \d+ frames? written"):
            for frame in as_frames(list(noise) * 5):
                sink.write(frame)
            sink.close()
        sink.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list(open_source(str(path)))) >= 12


def test_fault_77_after_kill_9_nearly_all_frames_are_readable(
    tmp_path: Path, read_frames: Callable[[Path], list[Image]]
) -> None:
    """A process killed after 200 frames leaves at least 90 % of them."""
    path = tmp_path / "out.mp4"
    code = (
        "import sys, time, numpy as np\n"
        "from p2p_runtime.video.frames import FrameTask, VideoInfo\n"
        "from p2p_runtime.video.sinks import open_sink\n"
        "sink = open_sink(sys.argv[1], VideoInfo(width=64, height=48, fps=25))\n"
        "for i in range(200):\n"
        "    image = np.full((48, 64, 3), i, np.uint8)\n"
        "    sink.write(FrameTask(picture=image, index=i, timestamp_s=i / 25))\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert len(read_frames(path)) >= 180


def test_fault_83_a_second_writer_is_refused(tmp_path: Path) -> None:
    """While one process writes a file or a folder, another one cannot."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from p2p_runtime.video.frames import VideoInfo\n"
        "from p2p_runtime.video.sinks import open_sink\n"
        "video = VideoInfo(width=64, height=48, fps=9)\n"
        "sinks = [open_sink(Path(p), video) for p in sys.argv[1:]]\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    outputs = [tmp_path / "out.mp4", tmp_path / "out"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *outputs], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        for output in outputs:
            with pytest.raises(SinkError, match="is being written by another process"):
                open_sink(output, VideoInfo(width=64, height=48, fps=9), overwrite=True)
        process.kill()
    for output in outputs:
        open_sink(output, VideoInfo(width=64, height=48, fps=9), overwrite=True).abort()


def test_a_folder_keeps_names_and_pixels(tmp_path: Path, frames: list[Image]) -> None:
    """PNGs carry the stem of their source, or a number, and are exact."""
    sink = ImageFolderSink(tmp_path / "new" / "photos")
    sink.write(FrameTask(picture=frames[0], index=0, timestamp_s=0, name="aachen_01"))
    sink.write(FrameTask(picture=frames[1], index=1, timestamp_s=0))
    sink.close()
    written = sorted((tmp_path / "new" / "photos").iterdir())
    assert [path.name for path in written] == ["000001.png", "aachen_01.png"]
    content = np.frombuffer(written[1].read_bytes(), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(content, cv2.IMREAD_COLOR), frames[0])


def test_a_folder_misses_nothing(tmp_path: Path, frames: list[Image]) -> None:
    """A picture that is gone at the end, or no picture at all, is an error."""
    sink = ImageFolderSink(tmp_path / "photos")
    sink.write(FrameTask(picture=frames[0], index=0, timestamp_s=0))
    with pytest.raises(SinkError, match="takes"):
        sink.write(FrameTask(picture=frames[0][..., 0], index=0, timestamp_s=0))
    (tmp_path / "photos" / "000000.png").unlink()
    with pytest.raises(SinkError, match="lacks 1 picture of"):
        sink.close()


def test_nowhere_takes_everything(frames: list[Image], tmp_path: Path) -> None:
    """null: takes frames of any size and leaves no file."""
    sink = open_sink("null:", VIDEO)
    for frame in as_frames(frames):
        sink.write(frame)
    sink.write(FrameTask(picture=frames[0][:9], index=0, timestamp_s=0))
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_several_outputs_get_the_same_frames(
    tmp_path: Path, frames: list[Image], read_frames: Callable[[Path], list[Image]]
) -> None:
    """Every output holds every frame."""
    outputs = [str(tmp_path / name) for name in ("a.mp4", "b.mkv", "pngs")]
    sink = open_sink([parse_output(text) for text in outputs], VIDEO)
    for frame in as_frames(frames):
        sink.write(frame)
    sink.close()
    assert [len(read_frames(tmp_path / name)) for name in ("a.mp4", "b.mkv")] == [20, 20]
    assert len(list((tmp_path / "pngs").iterdir())) == 20


def test_one_wrong_output_opens_none(tmp_path: Path) -> None:
    """When one of several outputs is wrong or named twice, no file is left of the others."""
    good, bad = str(tmp_path / "good.mp4"), str(tmp_path / "bad.gif")
    with pytest.raises(SinkError, match=r"\.gif is not known"):
        open_sink([parse_output(text) for text in (good, bad)], VIDEO)
    with pytest.raises(SinkError, match=r"good\.mp4 is named twice"):
        open_sink([parse_output(good)] * 2, VIDEO)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_output_leaves_the_others_finished(
    tmp_path: Path, frames: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file that lost frames is told by name; the others are closed, and can be read."""
    outputs = [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    sink = open_sink([parse_output(text) for text in outputs], VIDEO)
    for frame in as_frames(frames):
        sink.write(frame)
    real = h264.count_frames
    monkeypatch.setattr(
        h264, "count_frames", lambda path: 19 if path.name == "a.mp4" else real(path)
    )
    with pytest.raises(SinkError, match=r"a\.mp4 holds 19 frames, not the 20"):
        sink.close()
    open_sink(
        [parse_output(text) for text in outputs],
        VIDEO,
        overwrite=True,
    ).abort()  # locks are free
