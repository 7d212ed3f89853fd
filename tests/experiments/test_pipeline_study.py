"""What the pipeline study says is what was measured."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from experiments.speed.pipeline import SINKS, PipelineRound, TimedEngine, main, summarise
from p2p_runtime.engines import UninterruptibleEngine
from p2p_runtime.translate.report import STAGES, Recorder
from p2p_runtime.video.frames import FrameTask

Image = NDArray[np.uint8]


def test_every_run_and_stage_is_in_the_figures(bundle: Path, video: Path, tmp_path: Path) -> None:
    """Engine alone, in workers, into nothing and into a file: as JSON and as Markdown."""
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
        assert f", {sink} |" in result.stdout
    assert "| latency |" in result.stdout


def test_ratios_are_those_of_each_round() -> None:
    """A busy minute slows all runs of its round, so ratios are taken inside one."""
    rounds = [
        PipelineRound(
            wall_s={
                "engine": 1.0 * load,
                "workers": 0.5 * load,
                "null": 2.0 * load,
                "mp4": 4 * load,
            },
            outside_s={"engine": 9.0, "workers": 0.1, "null": 0.5 * load, "mp4": 2.0},
        )
        for load in (1.0, 10.0, 1.0)
    ]
    recorder = Recorder()
    times_ms = {"latency": 10.0, "infer": 9.0}
    recorder.wrote(FrameTask(picture=np.zeros((1, 1, 3), np.uint8), times_ms=times_ms))
    source = SimpleNamespace(frames_lost=0)
    report = recorder.finish(source, None, interrupted=False, run={})
    figures = summarise("m", 100, 2, rounds, dict.fromkeys(SINKS, report), cpu_time=True)
    assert figures["engine_ms"] == pytest.approx(10)
    assert figures["share"] == {"null": 0.5, "mp4": 0.25}
    assert figures["share_workers"] == {"null": 0.25, "mp4": 0.125}
    assert figures["outside_cpu_ms"] == {"null": pytest.approx(5), "mp4": pytest.approx(20)}
    assert figures["unaccounted"]["null"] == pytest.approx(0.1)


def test_the_time_inside_the_engine_is_that_of_whoever_called_it() -> None:
    """Two threads at once; what they spend elsewhere, and waiting, does not count."""

    class Busy(UninterruptibleEngine):
        device = "cpu"

        def infer(self, frames: Image) -> Image:
            end_s = time.thread_time() + 0.05
            while time.thread_time() < end_s:
                pass
            time.sleep(0.2)
            return frames

        def close(self) -> None:
            """Nothing to free."""

    engine = TimedEngine(Busy())
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(engine.infer, [np.zeros((1, 8, 8, 3), np.uint8)] * 4))
    assert 0.2 <= engine.cpu_s < 0.4


def test_workers_with_several_threads_have_no_cpu_time(
    bundle: Path, video: Path, tmp_path: Path
) -> None:
    """A dash says that no clock tells the engine's threads from the others."""
    arguments = ["--video", video, "--model", bundle, "--rounds", "1", "--threads", "8"]
    arguments += ["--json", tmp_path / "pipeline.json"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.stdout.splitlines() if ", null |" in line]
    assert row.split("|")[6].strip() == "-"
