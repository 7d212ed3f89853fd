"""A process for each backend."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from p2p_bench.process import BackendProcess, StartupTimes
from p2p_runtime.errors import DeviceUnavailableError, EngineError
from toy_backends import ToyBackend

FRAMES = np.arange(3, dtype=np.uint8)[:, None, None, None, None] * np.ones((2, 4, 4, 3), np.uint8)
"""Three batches of two frames, filled with their number."""

NOWHERE = Path("nowhere.onnx")


def process_of(**settings) -> BackendProcess:
    """Return a toy that is not started yet."""
    return BackendProcess(ToyBackend(name="toy", **settings), NOWHERE, FRAMES, threads=1)


def state_of(process: BackendProcess) -> str:
    """Return Linux's letter for what a process does."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_a_backend_starts_and_runs_rounds(capfd):
    """The parent gets latencies, CPU time and memory; libraries cannot write to stdout."""
    with process_of(add=5) as toy:
        startup = toy.start()
        assert isinstance(startup, StartupTimes)
        assert startup.start_ms > 0
        measured = toy.run_round([0, 2], 1)
        assert len(measured.latencies_ms) == 2
        assert measured.cpu_ms >= 0
        assert toy.peak_rss_mib() > 1
    assert capfd.readouterr().out == ""


def test_images_come_in_the_order_of_their_numbers():
    """What is compared is a copy, though an engine may use its memory again."""
    with process_of(add=5) as toy:
        toy.start()
        images = toy.images([2, 0])
    assert images.shape == (4, 4, 4, 3)
    assert [image.max() for image in images] == [7, 7, 5, 5]


def test_a_waiting_process_is_stopped():
    """Between rounds a process uses no CPU time."""
    with process_of() as toy:
        toy.start()
        toy.run_round([0], 0)
        assert state_of(toy) == "T"


def test_leaving_the_context_ends_the_process():
    """A stopped process is not left behind."""
    with process_of() as toy:
        toy.start()
        toy.run_round([0], 0)
        pid = toy.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_unavailable_backend_gives_a_reason():
    """A backend that this machine cannot run is not an error."""
    with process_of(reason="no such chip") as toy:
        assert toy.start() == "no such chip"


def test_a_fall_back_is_an_error_that_names_the_backend():
    """Figures of something else than the row says never get into a table."""
    with (
        process_of(fails="fallback") as toy,
        pytest.raises(DeviceUnavailableError, match="toy: asked for a GPU but got a CPU"),
    ):
        toy.start()


def test_a_process_that_dies_is_an_error():
    """A library that crashes is told with its exit code; the benchmark does not hang."""
    with process_of(fails="death") as toy, pytest.raises(EngineError, match=r"toy.*exit code 7"):
        toy.start()
