"""Data sets that `p2p-run` saves from a simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fake_carla
from commands import p2p_train
from p2p_runtime.video.sources import open_source


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve frames of a simulator, and three of another run."""
    server = fake_carla.started(monkeypatch)
    for part, count in (("train", 12), ("val", 3)):
        url = f"carla://simulator?size=64x64&save={tmp_path}/town/{part}"
        source = open_source(url, labels=None)
        frames = iter(source)
        for _ in range(count):
            task = next(frames)
            task.output = 255 - np.asarray(task.picture, np.uint8)
            assert task.keep is not None
            task.keep(task)
        source.close()
    assert server.state()[1] == ["vehicle.audi.a2"]
    return tmp_path / "town"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--ids", "carla"), "label -> photo"),
        (("--ids", "carla", "--input-dir", "label", "--target-dir", "rgb"), "label -> rgb"),
        (("--palette", "none", "--input-dir", "rgb", "--target-dir", "photo"), "rgb -> photo"),
    ],
)
def test_any_two_folders_of_a_simulator_s_data_set_are_pairs(
    town: Path, words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    """Labels to photos by themselves, and other pairs by their folders' names."""
    done = p2p_train("--data", town, *words, "--inspect --run-dir", tmp_path / "out")
    assert f"two folders {told}, 15 pairs" in done.output
    assert "12 training, 3 validation" in done.output
