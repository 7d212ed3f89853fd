"""A benchmark report with made-up figures."""

from __future__ import annotations

import pytest

from p2p_bench.machine import describe_machine
from p2p_bench.measure import Latency
from p2p_bench.report import BenchReport, Row


def latency(name: str, median_ms: float, speedup: float) -> Latency:
    """Return made-up latencies."""
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
    """Return three measured backends and one that is unavailable."""
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
            Row(
                name="openvino-fp32",
                what="OpenVINO, fp32",
                unavailable="openvino is not installed",
            ),
        ),
        height=256,
        width=512,
        batch=1,
        inputs="8 drawn inputs",
        generator={"architecture": "unet", "ngf": 64},
        gmac=12.0,
        machine=describe_machine(2),
    )
