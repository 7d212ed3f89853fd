"""How cost grows, measured point by point."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.speed.scaling import AXES, Point, model_of, time_point


def test_one_thing_grows_at_a_time():
    """Along an axis, points differ in what it is called after; all share one base."""
    for axis, points in AXES.items():
        fields = {"size": ("height", "width")}.get(axis, (axis,))
        for point in points:
            same = {name for name in Point.__slots__ if name not in fields}
            assert all(getattr(point, name) == getattr(Point(), name) for name in same)
        assert Point() in points


def test_a_point_gives_milliseconds_of_a_frame(tmp_path: Path):
    """A batch's time is shared among its frames; the work is one frame's."""
    point = Point(ngf=2, height=32, width=32, batch=2, threads=1)
    files = model_of(point, tmp_path)
    assert model_of(point, tmp_path) == files  # made once, then found again
    figures = time_point(point, files, ["fp32", "int8"], frames=2)
    assert set(figures["median_ms"]) == {"fp32", "int8"}
    assert figures["batch"] == 2
    assert figures["gmac"] == pytest.approx(0.0000, abs=0.01)
