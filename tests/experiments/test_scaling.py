"""How cost grows, measured point by point."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from experiments.page.tables import scaling_tables

from experiments.speed.scaling import AXES, Point, model_of, time_point
from p2p_bench.charts import scaling_chart


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


def test_axes_become_a_chart_and_tables(tmp_path: Path):
    """Every axis has a panel and a table, whatever its number of points."""
    axes = {
        axis: {
            "points": [
                {
                    **{name: getattr(point, name) for name in Point.__slots__},
                    "gmac": 1.0,
                    "median_ms": {"eager": 20.0 * point.ngf, "int8": 5.0 * point.ngf},
                }
                for point in points
            ]
        }
        for axis, points in AXES.items()
    }
    scaling_chart(axes, tmp_path / "scaling.png")
    chart = cv2.imdecode(np.frombuffer((tmp_path / "scaling.png").read_bytes(), np.uint8), 1)
    assert len(np.unique(chart.reshape(-1, 3), axis=0)) > 10
    text = scaling_tables(axes)
    assert text.count("GMAC a frame") == len(AXES)
    assert "| 256x512 | 1.00 | 640.0 ms, 1.00x | 160.0 ms, 4.00x |" in text
