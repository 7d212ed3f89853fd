"""What several runs score, in one table."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from experiments.quality.scores import main, named_run, table

PATCHY = {"l1": 0.25, "ssim": 0.4, "segmentation": None, "frechet": None, "flicker": 2.5}
WHOLE = {
    **PATCHY,
    "segmentation": {"pixel_accuracy": 0.8, "class_accuracy": 0.4, "mean_iou": 0.3},
    "segmentation_real": {"pixel_accuracy": 0.9, "class_accuracy": 0.6, "mean_iou": 0.5},
    "frechet": 2.0,
    "frechet_real": 0.5,
    "pattern": 7.7,
    "pattern_real": 1.6,
    "flicker_real": 10.0,
}


def test_a_row_for_each_run_and_one_for_real_photos() -> None:
    """Figures stand under their titles; what nobody measured is left empty."""
    head, _, first, second, photos = table({"a": WHOLE, "b": PATCHY}).splitlines()
    titles = head.strip("| ").split(" | ")
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert dict(zip(titles, cells[1:], strict=True))["fixed pattern"] == "7.7"
    assert second == "| b | 0.2500 | 0.400 |  |  |  |  |  | 2.50 |"
    assert photos == "| *real photos* |  |  | 0.900 | 0.600 | 0.500 | 0.50 | 1.6 | 10.00 |"


def test_runs_have_titles() -> None:
    """A title may hold spaces; a folder alone is refused."""
    assert named_run("width 16, alone=runs/a") == (
        "width 16, alone",
        Path("runs/a/checkpoints/last.pt"),
    )
    with pytest.raises(click.UsageError, match="TITLE=RUN"):
        named_run("runs/a")


def test_a_run_is_scored_and_written_down(workplace: Path, tmp_path: Path, command) -> None:
    """The command prints the table and writes every figure."""
    from p2p_train.scenes import write_dataset

    data, judge, output = tmp_path / "data", tmp_path / "judge.pt", tmp_path / "scores.json"
    write_dataset(data, 20, height=64, width=64)
    words = ("--data", data, "--size", 64, "--epochs", 1, "--output", judge)
    command("p2p-train", "judge", *words, folder=tmp_path)
    run = f"tiny={workplace / 'runs' / 'data-1'}"
    words = (run, "--judge", judge, "--data", data, "--json", output)
    result = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    figures = json.loads(output.read_text())["scores"]["tiny"]
    assert figures["step"] == 3
    assert 0 <= figures["segmentation"]["mean_iou"] <= 1
    assert f"| tiny | {figures['l1']:.4f} |" in result.output
