"""``p2p-train`` as people type it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import p2p_train as p2p_train_package
from commands import p2p_train
from p2p_train.config import TrainConfig
from p2p_train.training.checkpoint import Checkpoint

TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def test_defaults_find_data_and_make_a_numbered_run(data: Path) -> None:
    """Without --data and --run-dir, data/ is used and runs/data-1, data-2 ... are made."""
    for number in (1, 2):
        result = p2p_train(f"{TINY} --max-steps 1")
        assert Path(f"runs/data-{number}/checkpoints/last.pt").exists()
        assert f"p2p-export runs/data-{number}" in result.stdout


def test_resume_alone_goes_on_with_the_newest_run(data: Path) -> None:
    """--resume needs no name and keeps every setting; --epochs may be raised."""
    p2p_train(f"{TINY} --epochs 1")
    p2p_train("--resume --epochs 2 --device cpu --workers 0")
    checkpoint = Checkpoint.load(Path("runs/data-1/checkpoints/last.pt"))
    assert (checkpoint.progress["step"], checkpoint.config.model.ngf) == (4, 4)


def test_fault_09_resume_with_another_width_shows_the_difference(data: Path) -> None:
    """Resuming with --ngf 8 a run of ngf 4 is refused, with both numbers."""
    p2p_train(f"{TINY} --max-steps 1")
    result = p2p_train("--resume --ngf 8", exit_code=2)
    assert "ngf 4 -> 8" in result.stderr


def test_fault_06_resume_falls_back_to_the_checkpoint_before_and_says_so(data: Path) -> None:
    """A damaged last.pt is named, and the run goes on from the one before it."""
    p2p_train(f"{TINY} --epochs 2")
    Path("runs/data-1/checkpoints/last.pt").write_bytes(b"half a file")
    result = p2p_train("--resume --epochs 2 --device cpu --workers 0")
    assert "last.previous.pt" in result.stderr
    assert Checkpoint.load(Path("runs/data-1/checkpoints/last.pt")).progress["step"] == 4


def test_fault_06_resume_without_any_run(data: Path) -> None:
    """Nothing to resume is one line that says what to type."""
    result = p2p_train("--resume", exit_code=2)
    assert "--resume RUN" in result.stderr


def test_fault_14_image_size_is_checked_at_once(data: Path) -> None:
    """A size that does not fit ends in one line and exit code 2."""
    result = p2p_train("--image-size 300", exit_code=2)
    assert "nearest size is 256x256" in result.stderr


def test_fault_29_read_only_output_fails_before_training(data: Path) -> None:
    """A run directory that cannot be written is exit code 3 before the data is even read."""
    Path("file").touch()
    result = p2p_train(f"{TINY} --run-dir file/run", exit_code=3)
    assert "cannot write in" in result.stderr
    assert "pairs" not in result.stderr


def test_fault_23_missing_data_says_which_flag(data: Path) -> None:
    """No data is exit code 2 and names --data."""
    result = p2p_train("--data nowhere", exit_code=2)
    assert "nowhere does not exist" in result.stderr
    assert "--data" in result.stderr


def test_a_finished_run_is_not_overwritten(data: Path) -> None:
    """--run-dir of an existing run is refused with both ways out."""
    p2p_train(f"{TINY} --max-steps 1 --run-dir mine")
    result = p2p_train(f"{TINY} --max-steps 1 --run-dir mine", exit_code=2)
    assert "--resume mine" in result.stderr


def test_dry_run_prints_the_settings_and_trains_nothing(data: Path) -> None:
    """--dry-run shows the resolved settings and what the data is, and writes no file."""
    result = p2p_train(f"{TINY} --dry-run")
    settings = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert (settings["data"]["image_size"], settings["model"]["ngf"]) == ([32, 32], 4)
    assert "10 training and 3 validation pairs" in result.stdout
    assert "generator: 0.07 M parameters, 0.00 GMAC" in result.stdout
    assert not Path("runs").exists()


def test_waiting_threads_leave_the_core_to_its_neighbours(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenMP's threads sleep, unless the user decided otherwise."""
    for before, after in (("", "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
        if not before:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        p2p_train("--data nowhere", exit_code=2)
        assert os.environ["OMP_WAIT_POLICY"] == after


def test_impossible_device_lists_what_there_is(data: Path) -> None:
    """A GPU that is not there is exit code 4, never a silent CPU."""
    result = p2p_train(f"{TINY} --device cuda:7", exit_code=4)
    assert "cpu" in result.stderr


def test_a_runs_config_can_be_used_again_and_flags_still_win(data: Path) -> None:
    """--config takes every setting of config.json; a flag beside it has the last word."""
    p2p_train(f"{TINY} --max-steps 1 --lambda-l1 50")
    result = p2p_train("--config runs/data-1/config.json --ngf 6 --device cpu --dry-run")
    settings = json.loads(result.stdout[: result.stdout.rindex("}") + 1])
    assert (settings["model"], settings["loss"]["lambda_l1"]) == (
        {**settings["model"], "ngf": 6, "ndf": 4},
        50,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"loss": {"lambda_11": 1}}', "did you mean 'lambda_l1'"),
        ("[1]", "it holds a list, not a dict"),
        ("{", "cannot be read"),
    ],
)
def test_a_config_that_is_none_is_refused(data: Path, content: str, message: str) -> None:
    """Unknown keys and files that are no settings end in one line."""
    Path("config.json").write_text(content)
    result = p2p_train("--config config.json --dry-run", exit_code=2)
    assert message in result.stderr


def test_config_and_recipe_exclude_each_other(data: Path) -> None:
    """Both replace the defaults, and nobody could say which one wins."""
    Path("config.json").write_text("{}")
    result = p2p_train("--config config.json --recipe edge --dry-run", exit_code=2)
    assert "give one of them" in result.stderr


def test_image_size_is_width_by_height(data: Path) -> None:
    """As in every command; one number stands for a square."""
    result = p2p_train(f"{TINY} --image-size 64x32 --dry-run")
    assert '"image_size": [\n      64,\n      32' in result.stdout


def test_help_lists_everyday_flags_by_section() -> None:
    """--help is one screen or two; --help-all lists every setting."""
    short, long = p2p_train("--help").stdout, p2p_train("--help-all").stdout
    titles = ("Data", "Model", "Optimiser", "Losses", "Distillation", "Machine", "Run")
    places = [short.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)
    count = {
        page: sum(line.startswith(("  -", "  --")) for line in page.splitlines())
        for page in (short, long)
    }
    assert count[short] <= 33
    assert "--lambda-distil-style" not in short
    for name in TrainConfig.settings():
        assert f"--{name.replace('_', '-')}" in long


def test_training_from_python_needs_a_config_alone(data: Path) -> None:
    """``train(TrainConfig(...))`` finds a run directory and a device by itself."""
    config = p2p_train_package.TrainConfig.of(
        image_size=(32, 32), ngf=4, ndf=4, batch_size=4, max_steps=1
    )
    finish = p2p_train_package.train(config)
    assert (finish.run_dir, finish.step) == (Path("runs/data-1"), 1)
    assert p2p_train_package.Checkpoint.load(Path("runs/data-1/checkpoints/last.pt")).config
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = p2p_train_package.trane
