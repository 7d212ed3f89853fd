"""A small /dev/shm, as containers have it, is noticed before workers hang for want of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from p2p_runtime.errors import TrainingError
from p2p_train.config import TrainConfig
from p2p_train.data import batches
from p2p_train.data.batches import named_worker_failures
from p2p_train.training.loop import Machine, train

MB = 2**20


@pytest.mark.parametrize(
    ("free", "workers", "batch", "expected"),
    [
        (64 * MB, 8, 48 * MB, 0),  # Docker's, and a batch of 128
        (64 * MB, 8, 4 * MB, 4),
        (64 * MB, 2, 4 * MB, 2),
        (0, 3, 1, 0),
        (1024 * MB, 0, MB, 0),
    ],
)
def test_fault_109_workers_that_have_no_room_are_not_started(
    free: int,
    workers: int,
    batch: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Free bytes are compared with what the workers decode ahead; fewer are told."""
    room = SimpleNamespace(f_bavail=free, f_frsize=1)
    monkeypatch.setattr(batches.os, "statvfs", lambda path: room)
    with caplog.at_level(logging.WARNING):
        assert batches._workers_that_fit(workers, batch) == expected
    assert ("--shm-size" in caplog.text) == (expected < workers)


def test_fault_109_without_shared_memory_nothing_is_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Systems without the folder decide for themselves."""
    monkeypatch.setattr(batches, "SHARED_MEMORY", tmp_path / "missing")
    assert batches._workers_that_fit(7, 10**12) == 7


def test_fault_109_a_run_goes_on_without_workers(
    tiny: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains in this process, where no shared memory is needed."""
    room = SimpleNamespace(f_bavail=1, f_frsize=1)
    monkeypatch.setattr(batches.os, "statvfs", lambda path: room)
    machine = Machine(device=torch.device("cpu"), workers=2)
    assert train(tiny(max_steps=1), run_dir=tmp_path / "run", machine=machine).step == 1


def test_fault_109_a_silent_worker_is_one_line() -> None:
    """Torch's time-out becomes an error that says what to do."""
    silent = RuntimeError("DataLoader timed out after 600 seconds")
    says = r"delivered a batch for 600 s.*--workers"
    with pytest.raises(TrainingError, match=says), named_worker_failures():
        raise silent
