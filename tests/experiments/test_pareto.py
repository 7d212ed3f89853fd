"""The chart of worth against cost."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from experiments.pareto import Point, draw_chart, front, table
from experiments.pareto.runs import find_checkpoints
from p2p_runtime.errors import CheckpointError

PHOTOS = {"pixel_accuracy": 0.86, "mean_iou": 0.39, "frechet": 0.45}


def point(name: str, latency_ms: float, mean_iou: float, *, distilled: bool = False) -> Point:
    """Return a point; what does not matter here is the same for all."""
    return Point(
        name=name,
        ngf=16,
        distilled=distilled,
        steps=100,
        parameters_m=3.4,
        gmac=0.38,
        file_mb=3.5,
        latency_ms=latency_ms,
        pixel_accuracy=0.8,
        mean_iou=mean_iou,
        ssim=0.4,
        frechet=1.5,
    )


def test_the_front_holds_what_no_faster_run_equals() -> None:
    """Slower and no better is left out; slower and better stays; of equals the faster stays."""
    fast, slow = point("fast", 4, 0.30), point("slow", 10, 0.35)
    worse, equal = point("worse", 6, 0.28), point("equal", 7, 0.30)
    assert front([slow, equal, worse, fast], "mean_iou") == [fast, slow]


def test_the_table_ends_with_real_photos() -> None:
    """A row a run, fastest first, and the ceilings below."""
    runs = [point("slow", 10, 0.35), point("fast", 4, 0.3, distilled=True)]
    lines = table(runs, PHOTOS).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| fast", "| slow", "| *real photos*"]
    assert "| yes |" in lines[2]
    assert "| 0.390 |" in lines[-1]
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_the_chart_is_drawn_of_whatever_runs_there_are(count: int) -> None:
    """One run alone, and a distilled one beside it."""
    runs = [point("a", 4, 0.3), replace(point("b", 4.1, 0.34), distilled=True)][:count]
    with Image.open(io.BytesIO(draw_chart(runs, PHOTOS, "a machine"))) as picture:
        assert picture.width > 1000


def test_runs_without_checkpoint_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It works with whichever runs exist; with none at all it says so."""
    there = tmp_path / "there" / "checkpoints" / "last.pt"
    there.parent.mkdir(parents=True)
    there.touch()
    found = find_checkpoints([tmp_path / "there", tmp_path / "missing"], "last")
    assert found == {tmp_path / "there": there}
    assert "left out" in caplog.text
    with pytest.raises(CheckpointError, match="none of these runs"):
        find_checkpoints([tmp_path / "missing"], "last")
