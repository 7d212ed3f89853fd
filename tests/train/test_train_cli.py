"""``p2p-train`` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from p2p_train.cli import main
from p2p_train.training.checkpoint import Checkpoint

TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def p2p_train(line: str) -> Result:
    """Type ``p2p-train`` with some flags."""
    return CliRunner().invoke(main, line.split(), catch_exceptions=False)


def test_defaults_find_data_and_make_a_numbered_run(data: Path) -> None:
    """Without --data and --run-dir, data/ is used and runs/data-1, data-2 ... are made."""
    for number in (1, 2):
        result = p2p_train(f"{TINY} --max-steps 1")
        assert result.exit_code == 0, result.output
        assert Path(f"runs/data-{number}/checkpoints/last.pt").exists()
        assert f"p2p-export runs/data-{number}" in result.stdout


def test_resume_alone_goes_on_with_the_newest_run(data: Path) -> None:
    """--resume needs no name and keeps every setting; --epochs may be raised."""
    p2p_train(f"{TINY} --epochs 1")
    result = p2p_train("--resume --epochs 2 --device cpu --workers 0")
    assert result.exit_code == 0, result.output
    checkpoint = Checkpoint.load(Path("runs/data-1/checkpoints/last.pt"))
    assert (checkpoint.progress["step"], checkpoint.config.ngf) == (4, 4)


def test_fault_09_resume_with_another_width_shows_the_difference(data: Path) -> None:
    """Resuming with --ngf 8 a run of ngf 4 is refused, with both numbers."""
    p2p_train(f"{TINY} --max-steps 1")
    result = p2p_train("--resume --ngf 8")
    assert result.exit_code == 2
    assert "ngf 4 -> 8" in result.stderr


def test_fault_06_resume_falls_back_to_the_checkpoint_before_and_says_so(data: Path) -> None:
    """A damaged last.pt is named, and the run goes on from the one before it."""
    p2p_train(f"{TINY} --epochs 2")
    Path("runs/data-1/checkpoints/last.pt").write_bytes(b"half a file")
    result = p2p_train("--resume --epochs 2 --device cpu --workers 0")
    assert result.exit_code == 0, result.output
    assert "last.previous.pt" in result.stderr
    assert Checkpoint.load(Path("runs/data-1/checkpoints/last.pt")).progress["step"] == 4


def test_fault_06_resume_without_any_run(data: Path) -> None:
    """Nothing to resume is one line that says what to type."""
    result = p2p_train("--resume")
    assert result.exit_code == 2
    assert "--resume RUN" in result.stderr


def test_fault_14_image_size_is_checked_at_once(data: Path) -> None:
    """A size that does not fit ends in one line and exit code 2."""
    result = p2p_train("--image-size 300")
    assert result.exit_code == 2
    assert "nearest size is 256x256" in result.stderr


def test_fault_29_read_only_output_fails_before_training(data: Path) -> None:
    """A run directory that cannot be written is exit code 3 before the data is even read."""
    Path("file").touch()
    result = p2p_train(f"{TINY} --run-dir file/run")
    assert result.exit_code == 3
    assert "cannot write in" in result.stderr
    assert "pairs" not in result.stderr


def test_fault_23_missing_data_says_which_flag(data: Path) -> None:
    """No data is exit code 2 and names --data."""
    result = p2p_train("--data nowhere")
    assert result.exit_code == 2
    assert "nowhere does not exist" in result.stderr
    assert "--data" in result.stderr


def test_a_finished_run_is_not_overwritten(data: Path) -> None:
    """--run-dir of an existing run is refused with both ways out."""
    p2p_train(f"{TINY} --max-steps 1 --run-dir mine")
    result = p2p_train(f"{TINY} --max-steps 1 --run-dir mine")
    assert result.exit_code == 2
    assert "--resume mine" in result.stderr


def test_dry_run_prints_the_settings_and_trains_nothing(data: Path) -> None:
    """--dry-run shows the resolved settings and what the data is, and writes no file."""
    result = p2p_train(f"{TINY} --dry-run")
    assert result.exit_code == 0
    settings = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert (settings["height"], settings["ngf"]) == (32, 4)
    assert "10 training and 3 validation pairs" in result.stdout
    assert "generator: 0.07 M parameters, 0.00 GMAC" in result.stdout
    assert not Path("runs").exists()


def test_impossible_device_lists_what_there_is(data: Path) -> None:
    """A GPU that is not there is exit code 4, never a silent CPU."""
    result = p2p_train(f"{TINY} --device cuda:7")
    assert result.exit_code == 4
    assert "cpu" in result.stderr
