"""A run that knows its machine: its time, what fits into a time, and settings for few pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch

from commands import p2p_train
from p2p_train.config import TrainConfig
from p2p_train.data.prepare import prepare_data
from p2p_train.options import duration_s
from p2p_train.training import estimate as estimating
from p2p_train.training import loop
from p2p_train.training.checkpoint import Checkpoint
from p2p_train.training.estimate import Estimate, fit_auto, fit_batch
from p2p_train.training.loop import Machine, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
TINY = "--image-size 32 --ngf 4 --ndf 4 --samples 2 --device cpu --workers 0"
PATCH = "--discriminator patch --gan-loss bce"


def estimate(**changes: float) -> Estimate:
    """Return what a run takes whose steps take a second."""
    values = {"step_s": 1.0, "validation_s": 0.0, "memory_mib": 512.0, "checkpoints_mb": 100.0}
    return Estimate(**{**values, **changes}, per_epoch=4, device="CPU")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "budget_s", "steps"),
    [
        ({}, None, 40),
        ({}, 10.5, 10),
        ({}, 1000.0, 40),
        ({"validation_s": 4.0}, 24.0, 12),  # three epochs, each validated
        ({"step_s": 100.0}, 5.0, 1),
    ],
    ids=["no end", "steps", "all", "validations", "one at least"],
)
def test_a_time_is_a_number_of_steps(
    tiny: MakeConfig, changes: dict[str, float], budget_s: float | None, steps: int
) -> None:
    """Validations count; epochs and steps of the config are bounds; the rest stays."""
    config = tiny(epochs=10)
    short = estimate(**changes).fit(config, budget_s)
    assert (short.optim.max_steps or 40) == steps
    assert short.optim.epochs == -(-steps // 4)
    same = {"max_steps": None, "epochs": 10}
    assert short.replace(**same) == config


def test_a_long_run_says_what_is_shorter(tiny: MakeConfig) -> None:
    """One line has time, memory and disk; hours come with a way out of them."""
    config = tiny(epochs=10)
    short, long = (estimate(step_s=s).describe(config, 10) for s in (10.0, 1000.0))
    assert short == "about 5 min on this CPU, 0.5 GB of memory, 100 MB of checkpoints"
    assert long.startswith("about 8 h on this CPU")
    assert "--recipe auto takes about 20 min" in long


def test_timing_leaves_no_trace(
    tiny: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two timed steps change no bit of the run."""
    machine = Machine(device=CPU)
    train(tiny(dropout=0.5), run_dir=tmp_path / "timed", machine=machine)
    monkeypatch.setattr(loop, "time_steps", lambda *_, **__: estimate())
    train(tiny(dropout=0.5), run_dir=tmp_path / "not", machine=machine)
    one, two = (
        Checkpoint.load(tmp_path / name / "checkpoints/last.pt") for name in ("timed", "not")
    )
    assert all(torch.equal(one.generator[name], two.generator[name]) for name in one.generator)


def test_what_is_said_before_the_first_step_was_measured(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by --dry-run; a resumed run tells what is left, and its epoch."""
    monkeypatch.chdir(data.parent)
    pattern = r"about \d+ (s|min) on this CPU, \d+\.\d GB of memory, \d+ MB of checkpoints"
    dry = p2p_train(f"{TINY} --dry-run")
    assert re.search(pattern, dry.stdout)
    assert not Path("runs").exists()
    run = p2p_train(f"{TINY} --batch-size 4 --epochs 2")
    assert re.search(pattern, run.stderr)
    resumed = p2p_train("--resume --epochs 3 --device cpu --workers 0")
    assert "steps 4 to 6, from epoch 2.00" in resumed.stderr


def test_a_timed_run_stores_its_steps_and_resumes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--time fixes the steps once, so schedules follow it; a resumed run times nothing anew."""
    monkeypatch.chdir(data.parent)
    monkeypatch.setattr(loop, "time_steps", lambda *_, **__: estimate())
    p2p_train(f"{TINY} --batch-size 2 --time 7s")
    optim = json.loads(Path("runs/data-1/config.json").read_text())["optim"]
    assert (optim["max_steps"], optim["epochs"]) == (7, 2)
    last = Checkpoint.load(Path("runs/data-1/checkpoints/last.pt"))
    assert last.progress["step"] == 7
    assert "--time belongs to a new run" in p2p_train("--resume --time 5m", exit_code=2).stderr


def test_a_batch_of_more_than_a_quarter_of_the_pairs_is_lowered_aloud(
    tiny: MakeConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default is; what the user typed is not."""
    config = tiny(batch_size=128)
    assert [fit_batch(config, n, 1).optim.batch_size for n in (2, 18, 2975)] == [1, 4, 128]
    assert fit_batch(config, 18, 4).optim.batch_size == 4
    monkeypatch.chdir(data.parent)
    said = p2p_train(f"{TINY} --dry-run")
    assert "2 pairs a step, not 128, since there are only 10" in said.stderr
    assert '"batch_size": 2,' in said.stdout
    typed = p2p_train(f"{TINY} --batch-size 8 --dry-run")
    assert '"batch_size": 8,' in typed.stdout


def test_auto_fits_pairs_and_machine_and_flags_win(
    tiny: MakeConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it picked and why; pictures keep their detail; a GPU gets a wider network."""
    monkeypatch.chdir(data.parent)
    said = p2p_train(f"--recipe auto {PATCH} {TINY} --lambda-l1 7 --dry-run")
    assert "auto: width 16, 4 pairs a step, L1 weight 20, for 10 pairs" in said.stderr
    settings = json.loads(said.stdout[: said.stdout.rindex("}") + 1])
    assert (settings["model"]["ngf"], settings["loss"]["lambda_l1"]) == (4, 7.0)
    assert settings["optim"]["max_steps"] <= 400 * 5
    pictures = prepare_data(tiny(palette="none"))
    assert fit_auto(pictures, CPU)["num_downs"] is None


@pytest.mark.parametrize(
    ("device", "free_gib", "shape"),
    [
        ("cpu", 24, (16, 4)),
        ("cpu", 1.2, (16, 2)),
        ("cpu", 0.5, (8, 2)),
        ("cuda", 80, (64, 16)),
        ("cuda", 3, (64, 8)),
        ("cuda", 2, (32, 8)),
        ("cuda", 1, (16, 2)),
        ("cuda", None, (64, 16)),
    ],
)
def test_auto_takes_what_memory_has_room_for(
    tiny: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    device: str,
    free_gib: float | None,
    shape: tuple[int, int],
) -> None:
    """Pairs a step are fewer first, then the network is narrower; the log says what was free.

    Of crops, 256 px count, not the size of the images.
    """
    caplog.set_level("INFO")
    data = prepare_data(tiny(palette="none", image_size=(512, 256), crop=256))
    free = None if free_gib is None else int(free_gib * 2**30)
    monkeypatch.setattr(estimating, "free_memory_bytes", lambda device: free)
    found = fit_auto(data, torch.device(device))
    assert (found["ngf"], found["batch_size"]) == shape
    assert ("GB free" in caplog.text) == (shape not in [(16, 4), (64, 16)])


@pytest.mark.parametrize(("text", "seconds"), [("40m", 2400), ("1h30m", 5400), ("90s", 90)])
def test_durations(text: str, seconds: int) -> None:
    """Hours, minutes and seconds."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "40", "m", "0s", "1.5h", "-3m"])
def test_what_is_no_duration(text: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(click.BadParameter, match="write 40m"):
        duration_s(text)
