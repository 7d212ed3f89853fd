"""The study of live sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.speed.live import measure_live
from p2p_runtime.errors import P2PError
from toy_runtime import label_frame


def test_every_frame_that_was_sent_is_accounted_for(bundle: Path) -> None:
    """A source that outruns the engine: frames are dropped, and none is lost from the count."""
    frames = [label_frame(index, 96, 128) for index in range(8)]
    figures = measure_live(bundle, frames, speed=20, seconds=1, threads=1)
    assert figures["sent"] == figures["received"]
    assert figures["unaccounted"] == 0
    assert figures["written"] > 1
    assert figures["p95_in_engine_frames"] > 0


def test_a_run_that_fails_is_an_error(tmp_path: Path, wrong_golden: Path) -> None:
    """Figures of a run that did not end well are not figures."""
    with pytest.raises(P2PError):
        measure_live(wrong_golden, [label_frame(0)], speed=3, seconds=1, threads=1)
