"""Checkpoints: complete, verified, safe, and never lost."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from failing_disk import FailingDisk, every_failure
from p2p_runtime.errors import CheckpointError, OutputError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.training.checkpoint import Checkpoint, make_generator
from p2p_train.training.state import TrainState

CONTRACT = PixelContract(height=32, width=32, palette=CITYSCAPES)
FACTS = {"fingerprint": "f", "train_pairs": 10, "val_pairs": 3}


def make_checkpoint(config: TrainConfig, step: int = 0) -> Checkpoint:
    """Return a checkpoint of freshly made networks and optimisers."""
    state = TrainState(config, torch.device("cpu"))
    state.step = step
    frames = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    return state.to_checkpoint(CONTRACT, frames, FACTS)


@pytest.fixture
def saved(tiny: Callable[..., TrainConfig], tmp_path: Path) -> Path:
    """A checkpoint on disk."""
    path = tmp_path / "last.pt"
    make_checkpoint(tiny()).save(path)
    return path


def test_round_trip(tiny: Callable[..., TrainConfig], saved: Path) -> None:
    """Everything that went in comes out: settings, contract, weights, progress."""
    before, after = make_checkpoint(tiny()), Checkpoint.load(saved)
    assert (after.config, after.contract) == (before.config, before.contract)
    assert (after.progress, after.dataset) == (before.progress, before.dataset)
    for name, weights in before.generator.items():
        assert torch.equal(weights, after.generator[name])


def test_the_generator_is_built_as_it_ships(tiny: Callable[..., TrainConfig], saved: Path) -> None:
    """``build_generator`` gives the saved function in eval mode; other networks are refused."""
    checkpoint = Checkpoint.load(saved)
    generator = checkpoint.build_generator()
    assert not generator.training
    saved_weights = make_generator(checkpoint.config).eval()
    saved_weights.load_state_dict(checkpoint.generator)
    signal = torch.rand(2, 3, 32, 32)
    assert torch.equal(generator(signal), saved_weights(signal))
    with pytest.raises(CheckpointError, match="generator does not fit"):
        replace(checkpoint, config=tiny(ngf=6)).build_generator()


def test_a_checkpoint_written_before_is_refused(saved: Path, tmp_path: Path) -> None:
    """Another schema is one line that names both numbers."""
    content = torch.load(saved, weights_only=True)
    torch.save({**content, "schema": 1}, tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match=r"schema 1; this version reads 2"):
        Checkpoint.load(tmp_path / "old.pt")


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header", "folder", "missing"])
def test_fault_06_damaged_checkpoint_is_one_line(saved: Path, damage: str) -> None:
    """Whatever is wrong with the file, the error is one CheckpointError that names it."""
    content = saved.read_bytes()
    saved.unlink()
    if damage == "truncated":
        saved.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        saved.touch()
    elif damage == "text":
        saved.write_text("this is not a checkpoint\n" * 50)
    elif damage == "header":
        saved.write_bytes(b"XX" + content[2:])
    elif damage == "folder":
        saved.mkdir()
    with pytest.raises(CheckpointError, match=r"last\.pt") as caught:
        Checkpoint.load(saved)
    assert "\n" not in str(caught.value)


def test_fault_07_flipped_bit_in_a_weight_is_noticed(saved: Path) -> None:
    """Torch loads a flipped payload bit without a word; the digest does not."""
    content = bytearray(saved.read_bytes())
    weights = torch.load(saved, weights_only=True)["generator"]["encoder.2.1.weight"]
    where = bytes(content).index(weights.numpy().tobytes()[:64])
    content[where + 8] ^= 0x10
    saved.write_bytes(content)
    assert not torch.equal(
        torch.load(saved, weights_only=True)["generator"]["encoder.2.1.weight"], weights
    )
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(saved)


def test_fault_08_malicious_pickle_executes_nothing(tmp_path: Path) -> None:
    """A checkpoint that would run a command is refused and does not run it."""
    marker = tmp_path / "executed"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {marker}",)

    path = tmp_path / "last.pt"
    for save in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))):
        save({"schema": 2, "generator": Attack()}, path)
        with pytest.raises(CheckpointError, match="executed"):
            Checkpoint.load(path)
    assert not marker.exists()


def test_fault_09_checkpoint_of_another_width_lists_what_differs(
    tiny: Callable[..., TrainConfig],
) -> None:
    """Restoring into another network names the first weights that do not fit, and counts them."""
    state = TrainState(tiny(ngf=6), torch.device("cpu"))
    with pytest.raises(CheckpointError, match=r"encoder\.0\.0\.weight has shape .* and \d+ more"):
        state.resume(make_checkpoint(tiny()))


def test_other_files_of_torch_are_not_checkpoints(tmp_path: Path) -> None:
    """A file that torch wrote for somebody else is refused with a reason."""
    path = tmp_path / "last.pt"
    for content in ({"state_dict": {}}, [1, 2], torch.zeros(3)):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"last\.pt"):
            Checkpoint.load(path)


def test_the_checkpoint_before_is_kept(tiny: Callable[..., TrainConfig], saved: Path) -> None:
    """Saving again leaves the older one beside the new one, both whole."""
    make_checkpoint(tiny(), step=7).save(saved)
    assert Checkpoint.load(saved).progress["step"] == 7
    assert Checkpoint.load(saved.with_suffix(".previous.pt")).progress["step"] == 0


def test_fault_02_full_disk_keeps_the_old_checkpoint(
    tiny: Callable[..., TrainConfig],
    saved: Path,
    disk: FailingDisk,
) -> None:
    """Wherever the disk ends, the error says so, and the old file is whole and alone."""
    new = make_checkpoint(tiny(), step=7)
    for *_, code in every_failure(disk, lambda: new.save(saved), saved.parent):
        with pytest.raises(OutputError, match=os.strerror(code)):
            new.save(saved)
        assert Checkpoint.load(saved).progress["step"] in (0, 7)
