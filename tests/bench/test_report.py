"""How a benchmark is written down."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from p2p_bench.measure import Row
from p2p_bench.report import BenchReport, describe_machine
from p2p_runtime.errors import OutputError


@pytest.fixture
def report() -> BenchReport:
    """Two backends, one four times as fast."""
    figures = {"frames": 50, "p95_ms": 120.0, "fastest_ms": 20.0}
    return BenchReport(
        rows=(
            Row(name="eager", median_ms=100.0, speedup=1.0, psnr_db=float("inf"), **figures),
            Row(name="int8", median_ms=25.0, speedup=4.0, psnr_db=44.0, **figures),
        ),
        height=256,
        width=512,
        inputs="drawn inputs",
        machine=describe_machine(2),
    )


def test_table_has_a_line_a_backend(report):
    """People see median, frames a second, speed-up and agreement."""
    *_, eager, int8 = report.to_table().splitlines()
    assert eager.split() == ["eager", "100.00", "120.00", "10.0", "1.00x", "inf"]
    assert int8.split() == ["int8", "25.00", "120.00", "40.0", "4.00x", "44.0"]
    assert "512x256" in report.to_table()


def test_json_is_strict_and_says_what_it_ran_on(report, tmp_path: Path):
    """Every JSON reader can read the file, which names CPU, threads and versions."""
    report.save_json(tmp_path / "bench.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads((tmp_path / "bench.json").read_text(), parse_constant=refuse)
    assert [row["name"] for row in document["rows"]] == ["eager", "int8"]
    assert document["rows"][0]["psnr_db"] is None
    assert document["machine"]["threads"] == 2
    assert document["machine"]["cpu"]
    assert "numpy" in document["machine"]["versions"]


def test_chart_is_a_picture(report, tmp_path: Path):
    """The chart is a PNG with something on it."""
    report.save_chart(tmp_path / "bench.png")
    chart = cv2.imdecode(np.frombuffer((tmp_path / "bench.png").read_bytes(), np.uint8), 1)
    assert chart.shape[0] > 200
    assert len(np.unique(chart.reshape(-1, 3), axis=0)) > 10


def test_a_folder_in_the_way_is_an_output_error(report, tmp_path: Path):
    """What cannot be written gives one clear error."""
    with pytest.raises(OutputError, match="cannot write"):
        report.save_json(tmp_path)
