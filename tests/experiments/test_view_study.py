"""The study of the live page."""

from __future__ import annotations

from pathlib import Path

from experiments.speed.view import measure_cost, measure_lateness
from toy_runtime import label_frame


def test_slices_with_and_without_a_viewer_are_compared(bundle: Path) -> None:
    """The run goes on in both, and the viewer gets frames."""
    frames = [label_frame(index, 96, 128) for index in range(4)]
    figures = measure_cost(bundle, frames, rounds=2, slice_s=0.2)
    assert figures["fps_alone"] > 0 and figures["fps_watched"] > 0
    assert figures["viewer_fps"] > 1
    assert 0.1 < figures["ratio"] < 10


def test_the_time_in_a_picture_is_read_from_what_a_browser_shows() -> None:
    """Were a bit misread, a frame would be hours late, or early."""
    frames = [label_frame(index, 96, 256) for index in range(4)]
    rows = measure_lateness(frames, seconds=1)
    assert set(rows) == {
        f"{way}, {link}" for way in ("the page", "MJPEG") for link in ("none", "slow")
    }
    for row in rows.values():
        assert 0 <= row["p50_ms"] <= row["p95_ms"] < 60_000
        assert 0 < row["fps"] < 60
