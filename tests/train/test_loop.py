"""The training loop: it learns, it leaves things to look at, it goes on exactly."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import endless_run
from p2p_runtime.errors import (
    CheckpointError,
    ConfigError,
    DeviceUnavailableError,
    OutputError,
    TrainingError,
)
from p2p_train.config import TrainConfig
from p2p_train.data.layouts.images import open_image
from p2p_train.training import estimate, loop
from p2p_train.training.checkpoint import Checkpoint
from p2p_train.training.loop import Finish, Machine, train
from p2p_train.training.state import Losses, TrainState

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def run(config: TrainConfig, run_dir: Path, resume_from: Checkpoint | None = None) -> Finish:
    """Train on the CPU without workers."""
    return train(config, run_dir=run_dir, machine=Machine(device=CPU), resume_from=resume_from)


def last(run_dir: Path) -> Checkpoint:
    """Return a run's last checkpoint."""
    return Checkpoint.load(run_dir / "checkpoints" / "last.pt")


def assert_equal(one: object, two: object) -> None:
    """Compare nested states bit for bit."""
    assert type(one) is type(two)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, list | tuple):
        for left, right in zip(one, two, strict=True):
            assert_equal(left, right)
    else:
        assert one == two


def test_from_python_names_are_enough(tiny: MakeConfig, tmp_path: Path) -> None:
    """Folder and device may be texts; what is no config is told."""
    machine = Machine(device="cpu")  # type: ignore[arg-type]  # as somebody without mypy
    finish = train(tiny(max_steps=1), run_dir=str(tmp_path / "run"), machine=machine)
    assert finish.run_dir == tmp_path / "run"
    with pytest.raises(ConfigError, match=r"'photos' is no TrainConfig; give TrainConfig.of"):
        train("photos")  # type: ignore[arg-type]
    with pytest.raises(DeviceUnavailableError, match="device 'gpu' is not available; here are"):
        Machine(device="gpu")  # type: ignore[arg-type]


def test_training_learns(tiny: MakeConfig, tmp_path: Path) -> None:
    """Ten steps on toy pairs are worse than the mean photo on others; sixty are well below it."""
    config = tiny(epochs=6, batch_size=1, ngf=8, lr=2e-3, flip=False, jitter_px=0)
    run(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    mean_photo = lines[0]["mean_image_l1"]
    assert lines[-1]["val_l1"] < 0.95 * mean_photo < lines[0]["val_l1"]


def test_a_run_leaves_what_people_look_at(tiny: MakeConfig, tmp_path: Path) -> None:
    """Per epoch: a JSONL line, curves, a sample grid; and checkpoints with the contract."""
    finish = run(tiny(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"], line["images_seen"]) for line in lines] == [
        (1.0, 2, 8),
        (2.0, 4, 16),
    ]
    best_l1 = min(line["val_l1"] for line in lines)
    assert finish == Finish(run_dir=tmp_path, step=4, exit_code=0, best_l1=best_l1)
    with open_image(tmp_path / "samples" / "latest.png") as grid:
        assert grid.width == 3 * (32 + 4)
        assert grid.height > 2 * 32
    with open_image(tmp_path / "curves.png") as curves:
        assert curves.width > 1000
    checkpoint = last(tmp_path)
    assert checkpoint.contract.palette is not None
    assert checkpoint.frames.shape == (2, 32, 32, 3)
    assert (tmp_path / "checkpoints" / "best.pt").exists()


def test_crops_train_a_model_of_whole_images(tiny: MakeConfig, tmp_path: Path) -> None:
    """What is validated at 64x32 after crops of 32x32 is what is exported, bit for bit.

    Taps that crops never train would meet pixels there; resuming and losses hold, too.
    """
    config = tiny(image_size=(64, 32), crop=32, checkerboard_free=True, lambda_pattern=30.0)
    run(config, tmp_path)
    checkpoint = last(tmp_path)
    assert (checkpoint.contract.width, checkpoint.contract.height) == (64, 32)
    assert checkpoint.frames.shape == (2, 32, 64, 3)
    assert_equal(checkpoint.build_generator().state_dict(), checkpoint.generator)
    resumed = run(config.replace(epochs=3), tmp_path, checkpoint)
    assert resumed.step == 6


def test_best_weights_are_those_with_frozen_batchnorm_if_there_are_any(
    tiny: MakeConfig, tmp_path: Path
) -> None:
    """An early blur has the least L1; what the recipe ends with must ship, unless it failed."""
    config = tiny(epochs=3, freeze_batchnorm=0.66)
    state = TrainState(config, torch.device("cpu"))
    state.step, total = 2, 6
    state.begin_step(total)
    assert state.note_validation(0.25)
    assert state.note_validation(0.27)  # the newest, within a tenth
    assert not state.note_validation(0.28)
    state.step = 4
    state.begin_step(total)
    assert state.batchnorm_frozen
    assert state.note_validation(0.29)
    assert not state.note_validation(0.33)
    assert state.note_validation(0.28)
    assert state.best_l1 == 0.28
    state.step = 2  # a longer run goes back to batch statistics
    state.begin_step(total)
    assert not state.note_validation(0.20)

    finish = run(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert finish.best_l1 == lines[-1]["val_l1"]
    best = Checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    assert best.progress["step"] == 6
    assert best.progress["best_frozen"]


def test_a_run_of_many_short_epochs_is_validated_a_bounded_number_of_times(
    tiny: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation, curves and samples may not take longer than the steps between them."""
    monkeypatch.setattr(estimate, "VALIDATIONS", 2)
    run(tiny(epochs=5), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [3.0, 5.0]


def test_the_best_weights_come_without_optimisers(tiny: MakeConfig, tmp_path: Path) -> None:
    """They hold what scores, exports and teaches; one checkpoint before the last one is kept."""
    run(tiny(), tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.pt", "last.previous.pt", "last.pt"]
    best = Checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    assert best.training.keys() == {"discriminator", "loss_networks"}
    assert best.build_discriminator() is not None
    with pytest.raises(CheckpointError, match=r"resume last\.pt, or begin .* \(--from\)"):
        run(tiny(), tmp_path / "other", resume_from=best)


@pytest.mark.parametrize("stop_at", [2, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"ema": 0.9}, {"checkerboard_free": True, "lambda_pattern": 1.0}],
    ids=["classic", "average", "pattern"],
)
def test_fault_05_resumed_run_equals_uninterrupted_run_bit_for_bit(
    tiny: MakeConfig, tmp_path: Path, stop_at: int, options: dict[str, object]
) -> None:
    """Stopping at the end or in the middle of an epoch changes no bit of the final checkpoint."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(tiny(epochs=3, **options), whole)
    run(tiny(epochs=3, max_steps=stop_at, **options), broken)
    run(tiny(epochs=3, **options), broken, resume_from=last(broken))
    one, two = last(whole), last(broken)
    assert_equal(one.generator, two.generator)
    assert_equal(one.training, two.training)


@pytest.mark.parametrize(
    "options",
    [{}, {"lr_decay": True, "freeze_batchnorm": 0.5, "ema": 0.9}],
    ids=["classic", "schedules"],
)
def test_fault_04_sigterm_in_mid_epoch_saves_and_the_resume_is_exact(
    tiny: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
) -> None:
    """SIGTERM ends the step, saves, returns 143; going on gives the uninterrupted run's bits."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    config = tiny(**options)
    run(config, whole)
    real = loop.train_step

    def step_then_sigterm(state: TrainState, batch: object, **options: bool) -> Losses:
        losses = real(state, batch, **options)
        if state.step == 2:  # the third step: in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    monkeypatch.setattr(loop, "train_step", step_then_sigterm)
    assert run(config, broken) == Finish(
        run_dir=broken, step=3, exit_code=143, best_l1=last(broken).progress["best_l1"]
    )
    monkeypatch.setattr(loop, "train_step", real)
    run(config, broken, resume_from=last(broken))
    assert_equal(last(whole).generator, last(broken).generator)
    assert_equal(last(whole).training, last(broken).training)
    assert (whole / "log.jsonl").read_text().count("\n") == 2
    kept = ("epoch", "step", "generator_l1", "val_l1")
    logs = [
        [json.loads(x) for x in (d / "log.jsonl").read_text().splitlines()] for d in (whole, broken)
    ]
    assert [[line[key] for key in kept] for line in logs[0]] == [
        [line[key] for key in kept] for line in logs[1]
    ]


def test_fault_10_nan_stops_the_run_and_spares_the_last_good_checkpoint(
    tiny: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is no number ends the run with the step; the good checkpoint stays."""
    real = loop.train_step

    def poisoned(state: TrainState, batch: object, **options: bool) -> Losses:
        if state.step == 3:
            with torch.no_grad():
                state.generator.output[0].weight.fill_(float("nan"))
        return real(state, batch, **options)

    monkeypatch.setattr(loop, "train_step", poisoned)
    with pytest.raises(TrainingError, match=r"a loss is not .* step 4"):
        run(tiny(), tmp_path)
    assert last(tmp_path).progress["step"] == 2


def test_resume_refuses_other_pairs(tiny: MakeConfig, data: Path, tmp_path: Path) -> None:
    """A data set that lost a file is not the one that the run began with."""
    run(tiny(epochs=1), tmp_path / "run")
    next((data / "train").iterdir()).unlink()
    with pytest.raises(CheckpointError, match=r"10 \+ 3 pairs then, 9 \+ 3 now"):
        run(tiny(), tmp_path / "run", resume_from=last(tmp_path / "run"))


def test_fault_26_two_trainers_do_not_share_a_run(tiny: MakeConfig, tmp_path: Path) -> None:
    """A run directory that is being written to is refused."""
    from p2p_runtime.files import exclusive_lock

    with (
        exclusive_lock(tmp_path / ".lock", "mine"),
        pytest.raises(OutputError, match="another p2p-train is writing"),
    ):
        run(tiny(), tmp_path)


def test_bf16_trains(tiny: MakeConfig, tmp_path: Path) -> None:
    """Autocast changes the arithmetic, not the weights' type, and the losses stay finite."""
    run(tiny(precision="bf16"), tmp_path)
    assert {w.dtype for w in last(tmp_path).generator.values()} == {torch.float32, torch.int64}


def test_fault_01_kills_at_any_moment_leave_a_checkpoint_that_loads(
    tiny: MakeConfig, tmp_path: Path
) -> None:
    """After each of 20 kills, also in the middle of saving, the newest checkpoint resumes."""
    # Forked from a process that only imported: autograd's threads do not survive a fork.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["p2p_train.training.loop"])
    rng = random.Random(0)
    config = tiny(epochs=10_000)
    path = tmp_path / "checkpoints" / "last.pt"
    run(tiny(epochs=1), tmp_path)
    step = 0
    for _ in range(20):
        checkpoint = Checkpoint.load(path)
        assert checkpoint.progress["step"] >= step
        step = checkpoint.progress["step"]
        child = context.Process(target=endless_run.go_on, args=(config, tmp_path))
        before = path.stat().st_mtime_ns
        child.start()
        while path.stat().st_mtime_ns == before:
            assert child.is_alive(), "it ended by itself"
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.1))  # anywhere in the next steps and saves
        child.kill()
        child.join()
    assert Checkpoint.load(path).progress["step"] > 2


def test_fault_25_killed_worker_ends_the_run_and_spares_the_checkpoint(
    tiny: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker killed in the middle of a step is one TrainingError; the checkpoint loads."""
    real = loop.train_step

    def step_and_kill(state: TrainState, batch: object, **options: object) -> Losses:
        if state.step == 2:
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)
            time.sleep(5)  # torch reports the death from a signal handler, here
        return real(state, batch, **options)

    monkeypatch.setattr(loop, "train_step", step_and_kill)
    with pytest.raises(TrainingError, match=r"was killed.*--resume") as caught:
        train(tiny(epochs=50), run_dir=tmp_path, machine=Machine(device=CPU, workers=1))
    assert "\n" not in str(caught.value)
    assert last(tmp_path).progress["step"] == 2


def test_two_folders_of_ids_train_and_resume_exactly(tiny: MakeConfig, tmp_path: Path) -> None:
    """Class ids in labels/ beside photos/ train like colours, and resume bit for bit."""
    folders = tmp_path / "data2"
    for name in ("labels", "photos"):
        (folders / name).mkdir(parents=True)
    for index in range(10):
        ids = torch.randint(0, 12, (32, 32), dtype=torch.uint8).numpy()
        Image.fromarray(ids).save(folders / "labels" / f"{index}.png")
        Image.fromarray(20 * ids).convert("RGB").save(folders / "photos" / f"{index}.png")
    settings = {"data": str(folders), "palette": "camvid", "ids": "camvid", "epochs": 2}
    run(tiny(**settings), tmp_path / "whole")
    run(tiny(**settings, max_steps=3), tmp_path / "broken")
    run(tiny(**settings), tmp_path / "broken", resume_from=last(tmp_path / "broken"))
    assert_equal(last(tmp_path / "whole").generator, last(tmp_path / "broken").generator)
    assert last(tmp_path / "whole").contract.direction == "labels to photos"
