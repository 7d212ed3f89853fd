"""Runs that are kept: what --resume refuses, where --run-dir may lie, and what --from begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from commands import p2p_train
from p2p_train.training.checkpoint import Checkpoint

TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 8 --device cpu --workers 0"


@pytest.fixture(autouse=True)
def here(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every command in a folder of its own, beside a data set."""
    monkeypatch.chdir(tmp_path)


def trained(run: str = "run", more: str = "") -> Path:
    """Train a tiny run of three steps; return its checkpoints."""
    p2p_train(f"{TINY} --max-steps 3 --run-dir {run} {more}")
    return Path(run) / "checkpoints"


@pytest.mark.parametrize("name", ["best.pt", "mine.pt", "last.previous.pt"])
def test_fault_99_a_checkpoint_whose_run_went_on_is_not_resumed(name: str) -> None:
    """The later one is named, and still there; one without a later one is resumed."""
    folder = trained()
    last = folder / "last.pt"
    early = folder / name
    third = last.read_bytes()
    p2p_train("--resume run --max-steps 5 --device cpu --workers 0")
    before = last.read_bytes()
    early.write_bytes(third)
    refused = p2p_train(f"--resume {early} --max-steps 6 --device cpu", exit_code=2)
    assert f"{early} is of step 3, and {last} of step 5 would be lost" in refused.stderr
    assert f"--from {early}" in refused.stderr
    assert last.read_bytes() == before
    last.unlink()
    p2p_train(f"--resume {early} --max-steps 4 --device cpu --workers 0")


def test_what_a_killed_run_left_unfinished_is_removed() -> None:
    """A run that is killed while it writes a checkpoint goes on, and leaves no part of one."""
    folder = trained()
    torn = folder / ".p2p-torn.tmp"
    torn.write_bytes((folder / "last.pt").read_bytes()[:1000])
    p2p_train("--resume run --max-steps 4 --device cpu --workers 0")
    assert Checkpoint.load(folder / "last.pt").progress["step"] == 4
    assert not torn.exists()


@pytest.mark.parametrize("end", [2, 3])
def test_a_run_that_is_finished_is_told_and_stays_as_it_is(end: int) -> None:
    """One line says so, also where its end is moved to before its last step."""
    config = trained().with_name("config.json")
    before = config.read_bytes()
    resumed = p2p_train(f"--resume run --max-steps {end} --device cpu --workers 0")
    said = f"nothing to train: step 3 is done, and --max-steps or --epochs ends the run at {end}"
    assert said in resumed.stderr
    assert "training on" not in resumed.stderr
    assert config.read_bytes() == before


@pytest.mark.parametrize(("flag", "named"), [("--image-size 64", True), ("--ngf 8", False)])
def test_fault_126_a_run_of_another_size_is_an_export(flag: str, named: bool) -> None:
    """Who resumes a run for the sake of its size hears of the flag that exports it so."""
    trained()
    refused = p2p_train(f"--resume run {flag}", exit_code=2)
    assert ("p2p-export --size" in refused.stderr) is named


@pytest.mark.parametrize("flag", ["--recipe edge", "--recipe classic", "--config run/config.json"])
def test_fault_128_a_resumed_run_takes_no_recipe(flag: str) -> None:
    """It is refused like other changes, and the way to a new run is named."""
    trained()
    refused = p2p_train(f"--resume run {flag}", exit_code=2)
    assert "keeps its settings" in refused.stderr and "--from RUN" in refused.stderr


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": '{"name": "of another program"}'},
        {"config.json": "not JSON"},
        {"notes.txt": "mine"},
        {"config.json": "[1]", "src.py": "import this"},
    ],
)
def test_fault_139_a_folder_of_something_else_is_no_run_dir(files: dict[str, str]) -> None:
    """Nothing in it is touched; the data's own folder and the working folder are such, too."""
    place = Path("place")
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    for run_dir in ("place", ".", "data"):
        refused = p2p_train(f"{TINY} --max-steps 1 --run-dir {run_dir}", exit_code=2)
        assert "holds files that are not of a run" in refused.stderr
    assert {path.name: path.read_text() for path in place.iterdir()} == files


def test_fault_139_a_run_that_did_not_begin_may_begin_again() -> None:
    """An empty folder, hidden files, and a run without a checkpoint are no obstacle."""
    Path("run").mkdir()
    Path("run/.keep").touch()
    folder = trained()
    for path in folder.iterdir():
        path.unlink()
    trained()


def test_fault_125_weights_start_a_run_on_other_data() -> None:
    """Generator and discriminator begin with them, optimisers anew; rate and batch may differ."""
    before = Checkpoint.load(trained() / "last.pt")
    result = p2p_train(
        f"{TINY} --from run --run-dir new --lr 1e-12 --batch-size 2 --max-steps 1 --seed 3"
    )
    assert "starting with the weights of run/checkpoints/" in result.stderr
    after = Checkpoint.load(Path("new/checkpoints/last.pt"))
    assert (after.progress["step"], after.config.optim.batch_size) == (1, 2)
    for key, value in before.generator.items():
        if key.endswith("weight"):
            assert torch.allclose(after.generator[key], value, atol=1e-6), key
    theirs = before.training["discriminator"]
    ours = after.training["discriminator"]
    assert all(torch.allclose(ours[k], v, atol=1e-6) for k, v in theirs.items() if "weight" in k)


@pytest.mark.parametrize("more", ["--ndf 16", "--gan-loss none"])
def test_fault_125_a_discriminator_that_does_not_fit_begins_anew(more: str) -> None:
    """The generator's weights are taken all the same."""
    trained()
    result = p2p_train(f"{TINY} {more} --from run/checkpoints/last.pt --run-dir new --max-steps 1")
    assert ("so a new one begins" in result.stderr) == ("ndf" in more)


def test_fault_125_another_generator_and_a_resumed_run_are_refused() -> None:
    """The first layers that differ are named; --from and --resume exclude each other."""
    trained()
    other = p2p_train(f"{TINY} --ngf 8 --from run --run-dir new", exit_code=2)
    assert "generator does not fit" in other.stderr and "has shape" in other.stderr
    both = p2p_train("--resume run --from run", exit_code=2)
    assert "give one of them" in both.stderr
    changed = p2p_train("--resume run --lr 0.1", exit_code=2)
    assert "--from run/checkpoints/last.pt" in changed.stderr
    assert json.loads(Path("run/config.json").read_text())["model"]["ngf"] == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--recipe edge --palette none", True),
        ("--recipe enhance", False),
        ("--recipe paper --palette none", False),
        ("--num-downs 4 --palette none", True),
        ("--recipe edge", False),
    ],
)
def test_fault_131_recipes_of_label_maps_say_so_for_pictures(flags: str, said: bool) -> None:
    """A warning names the recipe that keeps more detail; label maps get none."""
    result = p2p_train(f"{TINY} {flags} --max-steps 1 --run-dir run")
    assert ("--recipe classic keeps more" in result.stderr) is said
