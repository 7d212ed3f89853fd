"""How a benchmark is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from p2p_bench.machine import describe_machine
from p2p_bench.report import latency_chart, write_result
from p2p_runtime.errors import OutputError


def test_table_has_a_line_a_backend(report):
    """Medians, tails, ratios, memory and agreement, and which backend is unavailable."""
    *_, eager, int8, _, unavailable = report.to_table().splitlines()
    assert eager.split() == ["eager", "100.00", "105.0", "120.0", "10.0", "1.00x", "200.0"]
    assert int8.split()[:7] == ["int8", "25.00", "30.0", "120.0", "40.0", "4.00x", "50.0"]
    assert int8.split()[7:] == ["150", "44.0"]
    assert unavailable == "not measured: openvino-fp32; -v says why"
    assert "512x256" in report.to_table()


def test_fault_106_a_table_has_80_columns(report):
    """Backends that are not measured share one line, those of a kind one word."""
    names = ("tensorrt-engine-fp16", "openvino-bf16", "cuda-fp16-no-graph", "openvino-int8")
    rows = [*report.rows, *(replace(report.rows[-1], name=name) for name in names)]
    report = replace(report, rows=tuple(rows), inputs="label maps that the checkpoint holds " * 3)
    table = report.to_table()
    assert max(map(len, table.splitlines())) < 80
    line = "3 of openvino, tensorrt-engine-fp16, cuda-fp16-no-graph; -v says why"
    assert line in " ".join(table.split())
    assert table.count("not measured") == 1


def test_json_is_strict(report, tmp_path: Path):
    """Any JSON parser can read the file; infinity is written as a string."""
    write_result(tmp_path / "bench.json", report.to_json())

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads((tmp_path / "bench.json").read_text(), parse_constant=refuse)
    assert [row["name"] for row in document["rows"]] == ["eager", "int8", "fp32", "openvino-fp32"]
    assert document["rows"][2]["psnr_db"] == "inf"


def test_the_machine_is_described_and_not_named():
    """CPU, what it can multiply, threads, versions; no host, user or path."""
    machine = describe_machine(2)
    assert machine["threads"] == 2
    assert machine["cpu"]
    assert "numpy" in machine["versions"]
    assert str(Path.home()) not in json.dumps(machine)


def test_the_chart_is_a_picture(report, tmp_path: Path):
    """A chart is a PNG with something on it."""
    latency_chart(report, tmp_path / "chart.png")
    chart = cv2.imdecode(np.frombuffer((tmp_path / "chart.png").read_bytes(), np.uint8), 1)
    assert chart.shape[0] > 200
    assert len(np.unique(chart.reshape(-1, 3), axis=0)) > 10


def test_a_folder_in_the_way_is_an_output_error(report, tmp_path: Path):
    """What cannot be written gives one clear error."""
    with pytest.raises(OutputError, match="cannot write"):
        write_result(tmp_path, report.to_json())
