"""The page of figures: what is measured is on it, what is not is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from experiments.page import compose
from experiments.page.__main__ import main
from experiments.page.tables import live_table, overhead_table
from p2p_bench.live import LiveFigures
from p2p_bench.report import BenchReport
from p2p_runtime.errors import ConfigError

LIVE = LiveFigures(
    engine_ms=10.0, sent_fps=300.0, sent=600, received=600, dropped=400, written=199,
    p50_ms=12.0, p95_ms=15.0,
)  # fmt: skip


def test_a_report_alone_makes_a_page(report: BenchReport, tmp_path: Path) -> None:
    """The command writes the page beside the folder and its charts into it."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    report.save_json(folder / "published.json")
    result = CliRunner().invoke(main, [str(folder)], catch_exceptions=False)
    assert result.exit_code == 0
    text = (tmp_path / "benchmarks.md").read_text()
    assert "`int8` takes 25.0 ms a frame: 4.00 times as fast as torch eager in fp32" in text
    assert "ncnn is not installed" in text
    assert "How cost grows" not in text
    for chart in ("published-latency.png", "published-quality.png"):
        assert (folder / chart).stat().st_size > 1000


def test_figures_that_lie_there_get_a_part(report: BenchReport, tmp_path: Path) -> None:
    """Another clock and live sources, from their own files."""
    report.save_json(tmp_path / "published.json")
    clock = {"bench_ms": 10.0, "whole_process_ms": 10.4, "difference": -0.0385}
    document = {"frames": 100, "rows": {"int8": clock}}
    (tmp_path / "crosscheck.json").write_text(json.dumps(document))
    text = compose(tmp_path)
    assert "## Another clock" in text
    assert "| `int8` | 10.00 ms | 10.40 ms | -3.9% |" in text


def test_without_the_report_there_is_no_page(tmp_path: Path) -> None:
    """The first file is needed, and named."""
    with pytest.raises(ConfigError, match=r"published\.json"):
        compose(tmp_path)


def test_lost_frames_are_seen_in_the_table_of_live_sources() -> None:
    """Latency is told in frames of the engine; what is neither written nor dropped, as such."""
    assert LIVE.unaccounted == 1
    row = {
        **{name: getattr(LIVE, name) for name in LiveFigures.__slots__},
        "p95_in_engine_frames": LIVE.p95_in_engine_frames,
        "unaccounted": LIVE.unaccounted,
    }
    *_, line = live_table({"model-int8": row}).splitlines()
    assert line == (
        "| model-int8 | 10.0 ms | 600 at 300 a second | 400 | 199 | 1 | 12.0 ms "
        "| 15.0 ms, 1.50 engine frames |"
    )


def test_the_overhead_has_a_row_a_model_and_sink() -> None:
    """Shares, CPU time and what the stages leave out."""
    model = {
        "model": "ngf16-int8",
        "run_ms": {"null": 3.0, "mp4": 5.0},
        "share": {"null": 0.8, "mp4": 0.5},
        "share_lanes": {"null": 0.7, "mp4": 0.4},
        "outside_cpu_ms": {"null": 1.5, "mp4": 6.0},
        "unaccounted": {"null": 0.01, "mp4": 0.02},
    }
    *_, null, mp4 = overhead_table([model]).splitlines()
    assert null == "| ngf16-int8 | null | 3.00 ms | 0.80 | 0.70 | 1.50 ms | 1.0% |"
    assert mp4.startswith("| ngf16-int8 | mp4 | 5.00 ms | 0.50 |")
