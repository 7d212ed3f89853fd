"""What is shown while training goes on."""

from __future__ import annotations

import logging
import time

import pytest

from p2p_train.training import progress as progress_module
from p2p_train.training.progress import TrainProgress


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
