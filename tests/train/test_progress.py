"""What is shown while training goes on."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import pytest

from p2p_train.training import progress as progress_module
from p2p_train.training.progress import TrainProgress
from terminal import on_terminal, shown, words_of
from toy_pairs import write_pairs


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Three steps of a run of ten, with a line for each; return the lines."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600.0 * next(clock))  # an hour back each look
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.0)
    with (
        caplog.at_level(logging.INFO),
        TrainProgress(total_steps=10, first_step=0, batch_size=4) as shown,
    ):
        for step in (1, 2, 3):
            shown.show(step, step / 5, "G 1.0")
    return [record.getMessage() for record in caplog.records]


def test_a_line_holds_step_epoch_speed_time_left_and_losses(lines: list[str]) -> None:
    """Away from a terminal, progress is plain lines with everything that the bar shows."""
    assert len(lines) == 3
    for what in ("step 3/10", "epoch 0.60", "images/s", "left", "G 1.0"):
        assert what in lines[-1]


def test_fault_28_a_clock_that_is_set_back_gives_no_negative_time_left(lines: list[str]) -> None:
    """Speed and time left come from a clock that only goes forward."""
    assert len(lines) == 3
    assert not [line for line in lines if "-" in line or "0:00:00" in line]


def test_a_silent_process_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of several processes, only the first reports."""
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.0)
    with (
        caplog.at_level(logging.INFO),
        TrainProgress(total_steps=10, first_step=0, batch_size=4, silent=True) as shown,
    ):
        shown.show(1, 0.1, "G 1.0")
    assert not caplog.records


@pytest.mark.parametrize("columns", [120, 80, 60])
def test_fault_106_training_shows_step_and_time_left_first(tmp_path: Path, columns: int) -> None:
    """Where a terminal is narrow, step and time left are the last to be cut."""
    write_pairs(tmp_path / "data" / "train", 4)
    settings = "--image-size 32 --num-downs 4 --ngf 4 --ndf 4 --batch-size 2 --max-steps 3"
    words = words_of("p2p-train", "--device", "cpu", *settings.split())
    code, drawn = on_terminal(words, folder=tmp_path, columns=columns)
    assert code == 0, drawn
    last = [line for line in shown(drawn) if line.startswith("step ")][-1]
    assert re.match(r"step 3/3, 0:00:00 left", last)
    assert len(last) < columns
