"""How a benchmark is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from p2p_bench.charts import latency_chart, quality_chart
from p2p_bench.machine import describe_machine
from p2p_bench.measure import Latency
from p2p_bench.report import BenchReport, Row
from p2p_runtime.errors import ConfigError, OutputError


def latency(name: str, median_ms: float, speedup: float) -> Latency:
    """Return made-up figures."""
    return Latency(
        name=name,
        frames=50,
        median_ms=median_ms,
        p90_ms=median_ms + 5,
        p99_ms=120.0,
        fastest_ms=median_ms - 1,
        cpu_ms=2 * median_ms,
        speedup=speedup,
        slowest_round=speedup,
        fastest_round=speedup,
    )


@pytest.fixture
def report() -> BenchReport:
    """Two backends, one four times as fast, and one that is missing."""
    return BenchReport(
        rows=(
            Row(name="eager", what="torch eager, fp32", latency=latency("eager", 100.0, 1.0)),
            Row(
                name="int8",
                what="ONNX Runtime, int8",
                latency=latency("int8", 25.0, 4.0),
                psnr_db=44.0,
                peak_rss_mib=150.2,
            ),
            Row(
                name="fp32",
                what="ONNX Runtime, fp32",
                latency=latency("fp32", 50.0, 2.0),
                psnr_db=float("inf"),
            ),
            Row(name="ncnn-fp32", what="ncnn, fp32", absent="ncnn is not installed"),
        ),
        height=256,
        width=512,
        batch=1,
        inputs="8 drawn inputs",
        generator={"architecture": "unet", "ngf": 64},
        gmac=12.0,
        ceilings={"fp32": 200.0},
        machine=describe_machine(2),
    )


def test_table_has_a_line_a_backend(report):
    """People see medians, tails, ratios, memory and agreement, and why a row is missing."""
    *_, eager, int8, _, missing = report.to_table().splitlines()
    assert eager.split() == ["eager", "100.00", "105.0", "120.0", "10.0", "1.00x", "200.0"]
    assert int8.split()[:7] == ["int8", "25.00", "30.0", "120.0", "40.0", "4.00x", "50.0"]
    assert int8.split()[7:] == ["150", "44.0"]
    assert missing.split(maxsplit=1) == ["ncnn-fp32", "not measured: ncnn is not installed"]
    assert "512x256" in report.to_table()


def test_achieved_work_is_the_batchs_work_over_its_time(report):
    """GMAC/s counts every frame of a batch."""
    (_, eager), *_ = report.timed
    assert report.gmac_per_s(eager) == pytest.approx(120.0)
    assert replace(report, batch=2).gmac_per_s(eager) == pytest.approx(240.0)
    assert replace(report, gmac=None).gmac_per_s(eager) is None


def test_json_is_strict_and_comes_back_as_it_was(report, tmp_path: Path):
    """Every JSON reader can read the file; infinity is a word in it."""
    report.save_json(tmp_path / "bench.json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads((tmp_path / "bench.json").read_text(), parse_constant=refuse)
    assert [row["name"] for row in document["rows"]] == ["eager", "int8", "fp32", "ncnn-fp32"]
    assert BenchReport.from_json(document) == report


def test_a_report_of_another_version_is_refused(report):
    """Old figures are not read as if they meant the same."""
    with pytest.raises(ConfigError, match="schema 1"):
        BenchReport.from_json({**report.to_json(), "schema": 1})


def test_the_machine_is_described_and_not_named():
    """CPU, what it can multiply, threads, versions; no host, user or path."""
    machine = describe_machine(2)
    assert machine["threads"] == 2
    assert machine["cpu"]
    assert "numpy" in machine["versions"]
    assert str(Path.home()) not in json.dumps(machine)


@pytest.mark.parametrize("draw", [latency_chart, quality_chart])
def test_charts_are_pictures(draw, report, tmp_path: Path):
    """A chart is a PNG with something on it."""
    draw(report, tmp_path / "chart.png")
    chart = cv2.imdecode(np.frombuffer((tmp_path / "chart.png").read_bytes(), np.uint8), 1)
    assert chart.shape[0] > 200
    assert len(np.unique(chart.reshape(-1, 3), axis=0)) > 10


def test_a_folder_in_the_way_is_an_output_error(report, tmp_path: Path):
    """What cannot be written gives one clear error."""
    with pytest.raises(OutputError, match="cannot write"):
        report.save_json(tmp_path)
