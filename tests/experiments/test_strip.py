"""The picture of a translation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import experiments.pictures.strip as strip
from p2p_runtime.files import write_bytes


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return a folder of five frames, each of one level."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for index in range(5):
        frame = np.full((32, 48, 3), 40 * index, np.uint8)
        write_bytes(folder / f"{index}.png", cv2.imencode(".png", frame)[1].tobytes())
    return folder


class Brighter:
    """Stands for a model whose name says by how many levels it brightens."""

    def __init__(self, model: str) -> None:
        self.levels = int(model)

    @classmethod
    def load(cls, model: str, device: str) -> Brighter:
        return cls(model)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return frame + np.uint8(self.levels)

    def __enter__(self) -> Brighter:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def draw(video: Path, *words: str) -> np.ndarray:
    """Run the command and return the picture's cells, (rows, columns) of their middle levels."""
    output = video.parent / "strip.png"
    done = CliRunner().invoke(
        strip.main, ["--video", str(video), "--output", str(output), *words], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    image = cv2.imdecode(np.fromfile(output, np.uint8), cv2.IMREAD_GRAYSCALE)
    return image[16 :: 32 + strip.GAP_PX, 24 :: 48 + strip.GAP_PX]


def test_models_stand_below_their_frames(video, monkeypatch):
    """A column a frame, the label on top; frames are spread over the whole video."""
    monkeypatch.setattr("p2p_runtime.translate.translator.Translator", Brighter)
    cells = draw(video, "--model", "3", "--model", "5", "--frames", "3")
    assert cells.tolist() == [[0, 80, 160], [3, 83, 163], [5, 85, 165]]


def test_differences_stand_at_the_end_of_a_row(video, monkeypatch):
    """A row a frame: label, models, and eight times what parts the last from the first."""
    monkeypatch.setattr("p2p_runtime.translate.translator.Translator", Brighter)
    words = ("--model", "3", "--model", "9", "--model", "5", "--frames", "2", "--difference")
    assert draw(video, *words).tolist() == [[0, 3, 9, 5, 16], [160, 163, 169, 165, 16]]
