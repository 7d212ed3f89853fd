"""The run log: JSONL, curves and TensorBoard show the same numbers."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from p2p_train.config import TrainConfig
from p2p_train.data.layouts.images import open_image
from p2p_train.losses import loss_curves
from p2p_train.training.curves import draw_curves, sample_grid
from p2p_train.training.recorder import RunLog

CURVES = loss_curves(TrainConfig())
GRID = np.zeros((8, 8, 3), np.uint8)


def record(
    epoch: int, losses: dict[str, float] | None = None, **changes: float
) -> dict[str, float]:
    """Return a line of the log; five steps an epoch."""
    usual = {
        "generator_adversarial": 1.5,
        "generator_l1": 0.2 / epoch,
        "discriminator_real": 0.4,
        "discriminator_fake": 0.3,
    }
    numbers = {
        "epoch": epoch,
        "step": 5 * epoch,
        "images_seen": 20 * epoch,
        "val_l1": 0.25,
        "val_psnr_db": 15.0 + epoch,
        "val_ssim": 0.4,
        "mean_image_l1": 0.3,
        "images_per_s": 7.0,
        "peak_memory_mib": 100.0,
    }
    return {**numbers, **(losses or usual), **changes}


def scored(epoch: int) -> dict[str, float]:
    """Return a line of a run with a segmenter."""
    scores = {"val_pixel_accuracy": 0.8, "val_class_accuracy": 0.4}
    return record(epoch, **scores, val_mean_iou=0.3, photo_mean_iou=0.37)


def test_a_line_holds_what_was_measured(tmp_path: Path) -> None:
    """Without a segmenter its scores are left out; with one they are there."""
    log = RunLog(tmp_path, 0, CURVES)
    log.add(record(1), GRID)
    log.add(scored(2), GRID)
    one, two = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert one == record(1)
    assert "val_mean_iou" not in one
    assert two["val_mean_iou"] == 0.3


def test_a_resumed_log_drops_the_lines_of_lost_work(tmp_path: Path) -> None:
    """A run that goes on from step 5 writes what comes after it anew."""
    log = RunLog(tmp_path, 0, CURVES)
    log.add(record(1), GRID)
    log.add(record(2), GRID)
    resumed = RunLog(tmp_path, 5, CURVES)
    resumed.add(record(2, val_l1=0.1), GRID)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["val_l1"]) for line in lines] == [(5, 0.25), (10, 0.1)]


@pytest.mark.parametrize("epochs", [1, 50])
@pytest.mark.parametrize("make", [record, scored])
def test_curves_of_short_and_long_runs(epochs: int, make: object) -> None:
    """One point and fifty points are both drawn, with or without a segmenter."""
    png = draw_curves([make(n) for n in range(1, epochs + 1)], CURVES)  # type: ignore[operator]
    with open_image(io.BytesIO(png)) as picture:
        assert picture.width >= 1000


def test_every_loss_of_a_run_is_logged_and_drawn(tmp_path: Path) -> None:
    """Whatever the settings add to what is minimised has a number and a panel."""
    config = TrainConfig.of(teacher="t.pt", segmenter="s.pt", lambda_pattern=1.0)
    curves = loss_curves(config)
    RunLog(tmp_path, 0, curves).add(record(1, dict.fromkeys(curves, 0.5)), GRID)
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert all(line[name] == 0.5 for name in curves)
    few = io.BytesIO(draw_curves([record(1)], CURVES))
    with open_image(tmp_path / "curves.png") as many, open_image(few) as usual:
        assert many.width > usual.width


def test_a_run_without_discriminator_has_no_adversarial_panel() -> None:
    """L1, PSNR, SSIM and the distance to the teacher fill two columns of two."""
    student = loss_curves(TrainConfig.of(gan_loss="none", teacher="t.pt"))
    line = record(1, dict.fromkeys(student, 0.5))
    png = io.BytesIO(draw_curves([line], student))
    with open_image(png) as picture:
        assert picture.width == pytest.approx(1100, abs=20)


def test_curves_of_a_log_from_before_a_metric_existed() -> None:
    """A line that lacks SSIM leaves a gap, not a KeyError."""
    old = record(1)
    del old["val_ssim"]
    assert draw_curves([old], CURVES).startswith(b"\x89PNG")
    assert draw_curves([old, record(2)], CURVES).startswith(b"\x89PNG")


def test_tensorboard_carries_the_numbers_of_the_log(tmp_path: Path) -> None:
    """Every number of every line is there at its step, and the grid in RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tensorboard's own, at import
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
        )
    log = RunLog(tmp_path, 0, CURVES, tensorboard=True)
    grid = GRID.copy()
    grid[..., 2] = 255  # red, in BGR
    for line in (scored(1), scored(2)):
        log.add(line, grid)
    log.flush_board()
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    shown = {tag.split("/")[1]: board.Scalars(tag) for tag in board.Tags()["scalars"]}
    assert shown.keys() == scored(1).keys()
    for number, line in enumerate((scored(1), scored(2))):
        for name, value in line.items():
            assert shown[name][number].step == line["step"]
            assert shown[name][number].value == pytest.approx(value)
    with open_image(io.BytesIO(board.Images("samples")[0].encoded_image_string)) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0)


def test_a_resumed_board_forgets_lost_work(tmp_path: Path) -> None:
    """What TensorBoard showed after the step that a run goes on from is shown once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
        )
    for first_step, epochs in ((0, (1, 2)), (5, (2,))):
        log = RunLog(tmp_path, first_step, CURVES, tensorboard=True)
        for epoch in epochs:
            log.add(record(epoch), GRID)
        log.flush_board()
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("validation/val_l1")] == [5, 10]


@pytest.mark.parametrize("width", [32, 64, 256])
def test_a_caption_is_as_wide_as_its_pictures_at_most(width: int) -> None:
    """It is not cut off: the last pixels of its line are white, and some before are not."""
    head = sample_grid({"generated": np.zeros((1, 32, width, 3), np.uint8)})[:26, 2:-2]
    assert (head[:, -4:] == 255).all()
    assert (head < 255).any()


def test_a_sample_grid_has_a_column_each() -> None:
    """Input, generated and target stand side by side, each in its colours."""
    images = {f"{level}": np.full((2, 32, 40, 3), level, np.uint8) for level in (10, 20, 30)}
    grid = sample_grid(images)
    assert [int(grid[-10, 44 * column + 20, 0]) for column in range(3)] == [10, 20, 30]


@pytest.mark.parametrize(
    "damage",
    [b"{", b"\xff\xfe\x00", b'{"step": 1e999, "epoch": 1}', b"[" * 5000, b"[1]", b'{"step": "a"}'],
)
def test_fault_133_damaged_lines_of_a_log_are_told_and_kept(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed run goes on with the whole lines; the others stand in a file of their own."""
    RunLog(tmp_path, 0, CURVES).add(record(1), GRID)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes() + damage + b"\n")
    RunLog(tmp_path, 10, CURVES).add(record(2), GRID)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [record(1), record(2)]
    assert damage in (tmp_path / "log-damaged.txt").read_bytes()
    assert "1 damaged line," in caplog.text
