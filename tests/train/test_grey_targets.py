"""Grey targets: what is learned from them has no tint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.data.prepare import prepare_data
from p2p_train.training.checkpoint import Checkpoint
from p2p_train.training.loop import Machine, train

MakeConfig = Callable[..., TrainConfig]


def write_targets(data: Path, kind: str) -> None:
    """Make the left halves of a data set grey, or nearly so."""
    for file in data.glob("*/*.png"):
        with Image.open(file) as image:  # noqa: TID251  # our own PNG
            pixels = np.array(image)
        grey = pixels[:, :32].mean(axis=2, keepdims=True).astype(np.uint8)
        pixels[:, :32] = grey
        if kind == "one coloured pixel":
            pixels[3, 3, 0] ^= 1
        Image.fromarray(pixels).save(file)


@pytest.mark.parametrize(
    "changes", [{}, {"ema": 0.9}, {"checkerboard_free": True}, {"gan_loss": "none"}]
)
def test_fault_129_grey_targets_give_grey_pictures(
    data: Path, tiny: MakeConfig, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Whatever else constrains the weights; the contract says so, and the note."""
    write_targets(data, "grey")
    found = prepare_data(tiny())
    assert found.contract.grey
    assert "targets are grey" in found.palette_note
    assert PixelContract.from_json(found.contract.to_json()) == found.contract
    machine = Machine(device=torch.device("cpu"))
    train(tiny(epochs=1, **changes), run_dir=tmp_path / "run", machine=machine)
    loaded = Checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert loaded.contract.grey
    generator = loaded.build_generator().eval()
    with torch.no_grad():
        image = generator(torch.rand(2, 3, 32, 32) * 2 - 1)
    assert torch.equal(image, image[:, :1].expand_as(image))
    assert image.std() > 0


@pytest.mark.parametrize("kind", ["coloured", "one coloured pixel"])
def test_fault_129_coloured_targets_stay_coloured(data: Path, tiny: MakeConfig, kind: str) -> None:
    """One pixel of one level is enough; the weights are then untouched."""
    if kind != "coloured":
        write_targets(data, kind)
    assert not prepare_data(tiny()).contract.grey


def test_fault_129_single_channel_targets_are_grey(tmp_path: Path, tiny: MakeConfig) -> None:
    """Depth maps, edges and scans come as files of one channel."""
    for name in ("input", "target"):
        (tmp_path / name).mkdir()
        for index in range(3):
            mode = "L" if name == "target" else "RGB"
            image = Image.effect_noise((32, 32), 60).convert(mode)
            image.save(tmp_path / name / f"{index}.png")
    assert prepare_data(tiny(data=str(tmp_path), palette="none")).contract.grey
