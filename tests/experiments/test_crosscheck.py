"""A clock that knows nothing of the benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.speed import crosscheck
from p2p_runtime.errors import P2PError

pytestmark = pytest.mark.skipif(not Path(crosscheck.TIME).exists(), reason="no /usr/bin/time")


def test_whole_processes_are_timed(workplace: Path, monkeypatch):
    """Loading and ending cancel: what is left is the time of a frame."""
    monkeypatch.setattr(crosscheck, "REPEATS", 1)
    folder = workplace / "runs" / "data-1" / "export"
    assert crosscheck.whole_process_ms("fp32", folder, 200, 1) < 1000


def test_a_program_that_fails_is_an_error(workplace: Path):
    """Its last words are in the message."""
    folder = workplace / "runs" / "data-1" / "export"
    with pytest.raises(P2PError, match=r"int8 failed: .*no int8"):
        crosscheck.whole_process_ms("int8", folder, 20, 1)
