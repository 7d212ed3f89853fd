"""The tutorial: each of its commands runs, in order, in one folder, at toy size."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from guides import ROOT, typed_lines, written_files

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "docs" / "tutorial.md"
SMALLER = {
    "p2p-train --resume": ["--max-steps", "6"],
    "p2p-train segmenter": ["--epochs", "1", "--size", "64"],
    "p2p-train --data photos --recipe": ["--max-steps", "4", "--ngf", "8", "--ndf", "8"],
    "p2p-run": ["--max-frames", "5"],
    "p2p-bench": ["--frames", "2", "--threads", "1", "--backends", "fp32,int8"],
}
"""What a command gets besides what stands in the tutorial; the later of two flags wins."""

FEWER = (("pairs=20", "pairs=16"), ("frames=60", "frames=6"))
"""What the tutorial draws, and how little of it the test draws."""


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory, command: Callable) -> Path:
    """Return the folder in which somebody followed the tutorial."""
    folder = tmp_path_factory.mktemp("hour")
    text = TUTORIAL.read_text(encoding="utf-8")
    for name, code in written_files(text).items():
        for many, few in FEWER:
            code = code.replace(many, few)
        (folder / name).write_text(code, encoding="utf-8")
    for line in typed_lines(text):
        extra = next((more for start, more in SMALLER.items() if line.startswith(start)), [])
        command(*shlex.split(line), *extra, folder=folder)
    return folder


@pytest.mark.parametrize(
    "made",
    [
        "inspect.png",
        "runs/photos-1/index.html",
        "runs/photos-1/export/model-fp32.onnx",
        "runs/photos-1/export/model-int8.onnx",
        "run.json",
        "bench.png",
    ],
)
def test_the_tutorial_makes_what_it_names(hour: Path, made: str):
    """Every file that the text tells people to open is there."""
    assert Path(made).name in TUTORIAL.read_text(encoding="utf-8")
    assert (hour / made).stat().st_size > 0


def test_the_tutorial_ends_with_a_translated_video(hour: Path):
    """Labels and photos stand side by side in the video."""
    video = cv2.VideoCapture(str(hour / "seg-translated.mp4"))
    found, frame = video.read()
    assert found
    assert frame.shape == (256, 512, 3)
