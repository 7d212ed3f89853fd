"""``python -m experiments.speed.pipeline``: what does ``p2p-run`` add to the engine?

The same frames run through the engine alone (preprocessed frames from memory, one after the other,
on all threads), through the engine in workers (as many at a time as ``p2p-run`` has), and through
the whole of ``p2p-run``, with and without an H.264 file. Rounds are interleaved.

CPU time outside the engine is the CPU time of the process minus the time that the workers' thread
clocks show inside the engine.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import (
    Document,
    files_option,
    input_option,
    markdown_table,
    rounds_option,
    study,
    threads_option,
)
from p2p_bench.measure import rotate
from p2p_runtime.engines import Engine, UninterruptibleEngine
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.report import RunReport
from p2p_runtime.translate.translator import Translator
from p2p_runtime.translate.workers import default_workers, threads_per_worker, use_one_opencv_thread
from p2p_runtime.video.sinks import NullSink, open_sink
from p2p_runtime.video.sources import open_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SINKS", "PipelineRound", "TimedEngine", "main", "summarise", "table"]

SINKS = ("null", "mp4")


def table(document: Mapping[str, Any]) -> str:
    """Return a result as Markdown: cost and p50 of each stage, a row per model and sink."""
    models = document["models"]
    stages = list(models[0]["stages"][SINKS[0]])
    titles = ["model, sink", "engine alone", "p2p-run", "engine alone / p2p-run"]
    titles += ["engine in workers / p2p-run", "CPU outside the engine", *stages, "in no stage"]
    rows = [
        [
            f"{model['model']}, {sink}",
            f"{model['engine_ms']:.1f} ms",
            f"{model['run_ms'][sink]:.1f} ms",
            f"{model['share'][sink]:.2f}",
            f"{model['share_workers'][sink]:.2f}",
            f"{model['outside_cpu_ms'][sink]:.1f} ms" if model["outside_cpu_ms"] else "-",
            *(f"{model['stages'][sink][stage]['p50_ms']:.1f} ms" for stage in stages),
            f"{model['unaccounted'][sink]:.1%}",
        ]
        for model in models
        for sink in SINKS
    ]
    return markdown_table(titles, rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRound:
    """Seconds of each run in one round: wall time, and CPU time outside the engine."""

    wall_s: dict[str, float]
    outside_s: dict[str, float]


class TimedEngine(UninterruptibleEngine):
    """An engine that sums up the CPU time of the threads that call it."""

    def __init__(self, engine: Engine) -> None:
        self.device = engine.device
        self._engine = engine
        self._cpu_s: dict[int, float] = {}

    @property
    def cpu_s(self) -> float:
        """CPU time inside the engine so far, in seconds."""
        return sum(self._cpu_s.values())

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR into the same shape and type."""
        start_s = time.thread_time()
        images = self._engine.infer(frames)
        thread = threading.get_ident()
        self._cpu_s[thread] = self._cpu_s.get(thread, 0.0) + time.thread_time() - start_s
        return images

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def measure_pipeline(
    model: Path, video: Path, *, threads: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """Time a bundle's engine and the whole of ``p2p-run`` on a label video; see :func:`summarise`.

    Args:
        model, video: the bundle and the label video.
        threads: CPU threads in all.
        rounds: number of rounds.
        folder: where the written videos go.
    """
    use_one_opencv_thread()
    workers = default_workers("cpu", threads)
    reports: dict[str, RunReport] = {}
    options: dict[str, Any] = {"device": "cpu", "threads": threads, "dedupe_threshold_px": None}
    with (
        Translator.load(model, **options) as alone,
        Translator.load(model, **options, workers=workers) as whole,
        contextlib.closing(open_source(str(video))) as source,
        ThreadPoolExecutor(workers) as pool,
    ):
        inputs = [whole.contract.preprocess(frame.image)[None] for frame in source]
        timed = whole.engine = TimedEngine(whole.engine)

        def run(sink: str) -> None:
            reports[sink] = _run(whole, video, sink, folder)

        runs: dict[str, Callable[[], object]] = {
            "engine": lambda: [alone.engine.infer(frame) for frame in inputs],
            "workers": lambda: list(pool.map(whole.engine.infer, inputs)),
            "null": lambda: run("null"),
            "mp4": lambda: run("mp4"),
        }
        alone.engine.infer(inputs[0])
        measured = [_run_round(runs, timed, number) for number in range(rounds)]
    one_thread = threads_per_worker(workers, threads) == 1
    return summarise(model.stem, len(inputs), workers, measured, reports, cpu_time=one_thread)


def _run_round(
    runs: dict[str, Callable[[], object]], engine: TimedEngine, number: int
) -> PipelineRound:
    """Do every run once, in an order that starts with another one in every round."""
    wall_s, outside_s = {}, {}
    for name in rotate(list(runs), number):
        time.sleep(0.1)  # threads of the run before may still spin
        start_s, start_cpu_s = time.perf_counter(), time.process_time() - engine.cpu_s
        runs[name]()
        wall_s[name] = time.perf_counter() - start_s
        outside_s[name] = time.process_time() - engine.cpu_s - start_cpu_s
    return PipelineRound(wall_s=wall_s, outside_s=outside_s)


def _run(translator: Translator, video: Path, sink: str, folder: Path) -> RunReport:
    wants_yuv = translator.preprocessor.wants_yuv
    with contextlib.closing(open_source(str(video), yuv=wants_yuv)) as source:
        if sink == "null":
            return run_pipeline(source, translator, NullSink())
        info, path = source.info, folder / "out.mp4"
        mp4 = open_sink(path, info, overwrite=True)
        return run_pipeline(source, translator, mp4)


def summarise(
    name: str,
    frames: int,
    workers: int,
    rounds: list[PipelineRound],
    reports: dict[str, RunReport],
    *,
    cpu_time: bool,
) -> dict[str, Any]:
    """Return the figures of a model: medians over the rounds, ratios within a round.

    Args:
        name: the model's.
        frames: number of frames in a round.
        workers: number of frames translated at the same time.
        rounds: seconds of ``engine``, ``workers`` and each sink.
        reports: of the last round, by sink.
        cpu_time: whether the CPU time outside the engine is known; it is not if a worker has
            several threads, which no clock tells apart.

    Returns:
        ``engine_ms`` and ``engine_workers_ms``, wall time per frame of the engine alone and in
        workers; and by sink ``run_ms``, wall time per frame of ``p2p-run``; ``share`` and
        ``share_workers``, time of the engine over that of ``p2p-run``; ``outside_cpu_ms``, CPU time
        per frame outside the engine; ``stages``, p50 and p95 of each stage; ``unaccounted``, share
        of the mean latency that is in no stage.
    """

    def per_frame_ms(seconds: Iterable[float]) -> float:
        return statistics.median(seconds) / frames * 1e3

    def wall_ms(run: str) -> float:
        return per_frame_ms(one.wall_s[run] for one in rounds)

    def shares(run: str) -> dict[str, float]:
        ratios = {sink: [one.wall_s[run] / one.wall_s[sink] for one in rounds] for sink in SINKS}
        return {sink: statistics.median(values) for sink, values in ratios.items()}

    outside_ms = {sink: per_frame_ms(one.outside_s[sink] for one in rounds) for sink in SINKS}
    return {
        "model": name,
        "frames": frames,
        "workers": workers,
        "engine_ms": wall_ms("engine"),
        "engine_workers_ms": wall_ms("workers"),
        "run_ms": {sink: wall_ms(sink) for sink in SINKS},
        "share": shares("engine"),
        "share_workers": shares("workers"),
        "outside_cpu_ms": outside_ms if cpu_time else {},
        "stages": {sink: reports[sink].stages for sink in SINKS},
        "unaccounted": {sink: _unaccounted(reports[sink]) for sink in SINKS},
    }


def _unaccounted(report: RunReport) -> float:
    means = {stage: row["mean_ms"] for stage, row in report.stages.items()}
    latency_ms = means.pop("latency")
    del means["decode"]  # it ends where the latency begins
    return abs(1 - sum(means.values()) / latency_ms)


@study(
    "pipeline",
    input_option("--video", "Label video."),
    files_option("--model", "models", "Bundle."),
    threads_option(2),
    rounds_option(7),
    table=table,
)
def main(
    *, video: Path, models: tuple[Path, ...], threads: int, rounds: int, smoke: bool
) -> Document:
    """Measure, stage by stage, what p2p-run adds to the engine."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            measure_pipeline(model, video, threads=threads, rounds=rounds, folder=Path(scratch))
            for model in models
        ]
    return {"rounds": rounds, "models": rows}


if __name__ == "__main__":
    main()
