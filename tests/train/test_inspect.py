"""Looking at a data set before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands import p2p_train
from p2p_runtime.errors import DatasetError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.config import DataConfig
from p2p_train.data.inspection import inspect_data, write_inspection
from p2p_train.data.layouts.images import open_image
from toy_pairs import SIDE_PX, write_folders


@pytest.fixture
def config(data: Path) -> DataConfig:
    """Settings for the toy pairs."""
    return DataConfig(folder=str(data), image_size=(SIDE_PX, SIDE_PX))


def test_the_report_says_what_the_data_is(config: DataConfig, tmp_path: Path) -> None:
    """Layout, numbers of pairs, sizes, palette and classes by name stand in the report."""
    report = write_inspection(config, tmp_path / "out")
    for part in (
        "side-by-side images, 13 pairs",
        "10 training, 3 validation",
        "input 32x32, target 32x32 (13 pairs)",
        "100.0% exact, 100.0% within 31 levels",
        "road",
        str(tmp_path / "out" / "inspect.png"),
    ):
        assert part in report


def test_the_sheet_shows_input_repaired_input_and_target(
    config: DataConfig, tmp_path: Path
) -> None:
    """Three captioned columns and a legend; the middle column holds palette colours only."""
    write_inspection(config, tmp_path)
    with open_image(tmp_path / "inspect.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[1] > 3 * SIDE_PX + 200
    rows = inspect_data(config).rows
    assert len(rows) == 6
    colours = {tuple(colour) for colour in CITYSCAPES.colours_bgr().tolist()}
    for _, repaired, _ in rows:
        assert {tuple(pixel) for pixel in repaired.reshape(-1, 3).tolist()} <= colours
    np.testing.assert_array_equal(pixels[26 : 26 + SIDE_PX, :SIDE_PX], rows[0][0][..., ::-1])


def test_class_shares_add_up_and_classes_never_seen_are_named(config: DataConfig) -> None:
    """Shares are over all pixels; a class of the palette that no pair shows is suspicious."""
    seen = inspect_data(config)
    assert sum(seen.class_shares) == pytest.approx(1)
    assert seen.class_shares[CITYSCAPES.classes.index("bus")] == 0
    assert any("never seen" in line and "bus" in line for line in seen.suspicions)


@pytest.mark.parametrize("palette", ["auto", "cityscapes"])
def test_swapped_halves_are_suspected(config: DataConfig, palette: str) -> None:
    """With the photo as input, the report says so and names the flag that swaps the halves."""
    seen = inspect_data(replace(config, input_side="left", palette=palette))
    assert any("swapped? try --input-side right" in line for line in seen.suspicions)
    assert not any("swapped" in line for line in inspect_data(config).suspicions)


def test_swapped_folders_are_suspected(tmp_path: Path) -> None:
    """For two folders, the names to swap are spelt out."""
    write_folders(tmp_path / "photos", tmp_path / "labels", 4)
    settings = DataConfig(folder=str(tmp_path), image_size=(SIDE_PX, SIDE_PX))
    seen = inspect_data(settings)
    assert any("--input-dir photos --target-dir labels" in line for line in seen.suspicions)


def test_a_wrong_palette_is_suspected(config: DataConfig) -> None:
    """Cityscapes colours read as CamVid's lie far from them, and the report asks."""
    seen = inspect_data(replace(config, palette="camvid"))
    assert any("the right --palette?" in line for line in seen.suspicions)


def test_pictures_have_neither_classes_nor_a_repaired_column(
    config: DataConfig, tmp_path: Path
) -> None:
    """Without a palette the sheet has two columns and the report no class table."""
    report = write_inspection(replace(config, palette="none"), tmp_path)
    assert "share of pixels" not in report
    with open_image(tmp_path / "inspect.png") as sheet:
        assert sheet.width == 2 * (SIDE_PX + 6)


def test_broken_data_is_an_error_and_no_sheet(tmp_path: Path) -> None:
    """No data, no sheet."""
    with pytest.raises(DatasetError, match="does not exist"):
        write_inspection(DataConfig(folder=str(tmp_path / "nowhere")), tmp_path)
    assert not (tmp_path / "inspect.png").exists()


def test_the_command_reports_and_trains_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--inspect prints the report, writes inspect.png where we are, and makes no run."""
    monkeypatch.chdir(tmp_path)
    result = p2p_train("--image-size 32 --inspect --data", data)
    assert "13 pairs" in result.stdout
    assert (tmp_path / "inspect.png").exists()
    assert not (tmp_path / "runs").exists()
