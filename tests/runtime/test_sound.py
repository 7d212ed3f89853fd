"""Sound on its way through a run: copied where the output takes it, else told."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from commands import Run
from p2p_runtime.video.sinks import open_sink
from p2p_runtime.video.sources import open_source
from toy_sound import write_with_sound


def heard(path: Path) -> tuple[float, float, int]:
    """Return begin and end of the only sound track in seconds, and how many samples it has."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        packets = [packet for packet in container.demux(stream) if packet.size]
        base = packets[0].time_base
        begin, end = packets[0].pts, packets[-1].pts + packets[-1].duration
        samples = sum(frame.samples for packet in packets for frame in packet.decode())
    return float(begin * base), float(end * base), samples


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.ts", "aac"),
        ("a.ts", "mp2"),
        ("a.mkv", "libopus"),
        ("a.mkv", "ac3"),
        ("a.mov", "pcm_s16le"),
        ("a.avi", "libmp3lame"),
        ("a.mkv", "flac"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_fault_124_sound_is_copied_where_the_output_takes_it(
    tmp_path: Path, name: str, codec: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It lasts as long as the frames and can be decoded; else a line says that it is left out."""
    source = open_source(str(write_with_sound(tmp_path / name, codec)))
    output = tmp_path / f"out{suffix}"
    sink = open_sink(output, source.info)
    for task in source:
        sink.write(task)
    sink.close()
    source.close()
    if f"{output} gets no sound" in caplog.text:
        assert (codec, suffix) in [
            ("pcm_s16le", ".mp4"), ("libopus", ".mov"), ("flac", ".mov"),
        ]  # fmt: skip
        return
    begin_s, end_s, samples = heard(output)
    assert 0 <= begin_s < 0.06
    assert 1.8 < end_s < 2.1
    assert samples > 0.85 * 2 * 48_000


def test_fault_124_sound_ends_with_the_frames(tmp_path: Path, toy_run: Run) -> None:
    """--max-frames cuts both, and the shape of the run is as before."""
    write_with_sound(tmp_path / "a.mp4", frames=100)
    result = toy_run("a.mp4", "--max-frames", 25, "--output", "out.mkv", "--side-by-side")
    assert "sound" not in result.stderr
    begin_s, end_s, _ = heard(tmp_path / "out.mkv")
    assert begin_s < 0.03
    assert 0.9 < end_s <= 1.03
    source = open_source("a.mp4")
    sink = open_sink("out.mov", source.info)
    for task in list(source)[:25]:  # all of the sound was read
        sink.write(task)
    sink.close()
    source.close()
    assert 0.9 < heard(tmp_path / "out.mov")[1] <= 1.03


@pytest.mark.parametrize("start_s", [0.0, 120.0])
def test_fault_124_sound_keeps_beside_the_frames(
    tmp_path: Path, start_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that starts at two minutes, and one joined from two: sound follows the same clock."""
    path = write_with_sound(tmp_path / "a.ts", "mp2", start_s=start_s)
    path.write_bytes(path.read_bytes() * 2)
    source = open_source(str(path))
    output = tmp_path / "out.mp4"
    sink = open_sink(output, source.info)
    tasks = list(source)
    for task in tasks:
        sink.write(task)
    sink.close()
    source.close()
    assert tasks[-1].timestamp_s == pytest.approx(99 / 25)
    begin_s, end_s, _ = heard(output)
    assert begin_s < 0.06
    assert 3.8 < end_s < 4.1
    assert caplog.text.count("its clock jumps") == 1


def test_fault_124_other_tracks_and_outputs_are_told(tmp_path: Path, toy_run: Run) -> None:
    """Of three tracks the first is copied; pictures and pipes have no sound."""
    write_with_sound(tmp_path / "a.mkv", tracks=3)
    result = toy_run("a.mkv", "--output", "out.mp4", "--output", "pictures", "--output", "null:")
    assert "a.mkv: these other streams are left out: 2 audio" in result.stderr
    assert "pictures gets no sound: only video files do" in result.stderr
    assert result.stderr.count("sound") == 1
    assert heard(tmp_path / "out.mp4")[2] > 80_000


def test_fault_124_after_kill_9_nearly_all_frames_are_readable(tmp_path: Path) -> None:
    """Frames do not wait for sound, not even for one that ended long ago."""
    path, output = write_with_sound(tmp_path / "a.mp4", frames=25), tmp_path / "out.mp4"
    code = (
        "import sys, time, numpy as np\n"
        "from p2p_runtime.video.frames import FrameTask\n"
        "from p2p_runtime.video.sinks import open_sink\n"
        "from p2p_runtime.video.sources import open_source\n"
        "source = open_source(sys.argv[1])\n"
        "sink = open_sink(sys.argv[2], source.info)\n"
        "picture = [sink.write(task) or task for task in source][-1].picture\n"
        "for i in range(25, 200):\n"
        "    sink.write(FrameTask(picture=picture, index=i, timestamp_s=i / 25))\n"
        "print('written', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, path, output]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 180
    assert heard(output)[2] > 40_000


def test_sound_is_not_collected_for_outputs_that_want_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a subscriber nothing is kept; a silent video says nothing of sound."""
    source = open_source(str(write_with_sound(tmp_path / "a.mp4")))
    assert source.info.sound is not None
    with caplog.at_level(logging.INFO):
        assert len(list(source)) == 50
    assert not source.info.sound.subscribe()
    assert "sound" not in caplog.text
    source.close()
