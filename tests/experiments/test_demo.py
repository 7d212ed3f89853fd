"""``make demo`` at toy size."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from experiments.demo import DemoSizes, run_demo
from p2p_runtime.errors import ConfigError, P2PError

SMALL = DemoSizes(
    pairs=8,
    side_px=64,
    steps=2,
    frames=5,
    clip_px=64,
    timed_frames=2,
    backends="eager,compile,int8",  # compiling a second form would double the time
)


@pytest.mark.slow
def test_demo_ends_with_a_video_and_pictures(tmp_path: Path, monkeypatch, capfd):
    """Pairs, a trained run, a model, a video with every frame, and a contact sheet."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_demo(tmp_path / "demo", SMALL)
    with av.open(tmp_path / "demo" / "seg-translated.mp4") as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(64, 128, 3)] * 5
    told = capfd.readouterr().out
    for name in ("contact-sheet.png", "run/curves.png", "run/samples/latest.png", "bench.png"):
        assert name in told
        png = np.frombuffer((tmp_path / "demo" / name).read_bytes(), np.uint8)
        assert cv2.imdecode(png, cv2.IMREAD_COLOR) is not None, name


def test_a_failing_command_ends_the_demo(tmp_path: Path, monkeypatch):
    """The error names the command, and no later one runs."""
    monkeypatch.setattr(DemoSizes, "commands", lambda _: [["run", "--nonsense"], ["bench"]])
    with pytest.raises(P2PError, match="p2p-run ended with exit code 2"):
        run_demo(tmp_path / "demo", DemoSizes(pairs=1, side_px=32, frames=1, clip_px=32))


def test_a_second_demo_starts_afresh(tmp_path: Path, monkeypatch):
    """The files of an older demo are removed."""
    monkeypatch.setattr(DemoSizes, "commands", lambda _: [["run", "--nonsense"]])
    for leftover in (None, "run/old.txt"):
        if leftover is not None:
            (tmp_path / "demo" / "run").mkdir()
            (tmp_path / "demo" / leftover).touch()
        with pytest.raises(P2PError, match="p2p-run"):
            run_demo(tmp_path / "demo", DemoSizes(pairs=1, side_px=32, frames=1, clip_px=32))
    assert not (tmp_path / "demo" / "run").exists()
    assert len(list((tmp_path / "demo" / "pairs" / "train").iterdir())) == 1


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path):
    """A folder that the demo did not make is not removed."""
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        run_demo(tmp_path, SMALL)
    assert (tmp_path / "thesis.txt").exists()
