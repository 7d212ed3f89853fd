"""What the pipeline benchmark says is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from p2p_bench.pipeline import SINKS, _figures, _Round, main
from p2p_runtime.report import STAGES, Recorder


def test_every_party_and_stage_is_in_the_figures(bundle: Path, video: Path, tmp_path: Path) -> None:
    """Engine alone, in lanes, into nothing and into a file: as JSON and as Markdown."""
    output = tmp_path / "pipeline.json"
    arguments = ["--video", video, "--model", bundle, "--rounds", "2", "--json", output]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    (figures,) = document["models"]
    assert (figures["frames"], document["rounds"]) == (20, 2)
    assert document["machine"]["cpu"]
    for sink in SINKS:
        assert set(STAGES) <= set(figures["stages"][sink])
        assert figures["share"][sink] > 0
        assert figures["unaccounted"][sink] < 0.05
        assert f"| {sink} | " in result.stdout
    assert "| latency | " in result.stdout


def test_ratios_are_those_of_each_round() -> None:
    """A busy minute slows all parties of its round, so ratios are taken inside one."""
    rounds = [
        _Round(
            wall_s={"engine": 1.0 * load, "lanes": 0.5 * load, "null": 2.0 * load, "mp4": 4 * load},
            cpu_s={"engine": 9.0, "lanes": 1.0, "null": 1.5, "mp4": 3.0},
        )
        for load in (1.0, 10.0, 1.0)
    ]
    recorder = Recorder()
    recorder.add("latency", 10)
    recorder.add("infer", 9)
    report = recorder.finish(frames_lost=0, interrupted=False, run={})
    figures = _figures("m", 100, 2, rounds, dict.fromkeys(SINKS, report))
    assert figures.engine_ms == pytest.approx(10)
    assert figures.share == {"null": 0.5, "mp4": 0.25}
    assert figures.share_lanes == {"null": 0.25, "mp4": 0.125}
    assert figures.outside_cpu_ms == {"null": pytest.approx(5), "mp4": pytest.approx(20)}
    assert figures.unaccounted["null"] == pytest.approx(0.1)
