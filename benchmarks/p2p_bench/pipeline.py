"""``python -m p2p_bench.pipeline``: what `p2p-run` adds to the engine, stage by stage.

The same frames of one video go through the bare engine (fitted frames from memory, one after the
other, all threads), through the bare engine in lanes (as many at a time as `p2p-run` takes), and
through the whole of `p2p-run`, into nothing and into an H.264 file. All take turns.

CPU time outside the engine is that of the process, without what the lanes' own clocks say that they
spent inside it.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.engines import Engine
    from p2p_runtime.translate.report import RunReport
    from p2p_runtime.translate.translator import Translator
    from p2p_runtime.video.frames import FrameSink

__all__ = ["PipelineFigures", "main", "measure_pipeline"]

PIPELINE_SCHEMA = 1
SINKS = ("null", "mp4")

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineFigures:
    """What `p2p-run` costs around one model. Times are medians over the rounds.

    Attributes:
        model: its name.
        frames: frames of the video, all translated in every round.
        lanes: frames at the same time in `p2p-run` and in ``engine_lanes_ms``.
        engine_ms: wall time a frame of the bare engine, frame after frame on all threads.
        engine_lanes_ms: wall time a frame of the bare engine in lanes.
        run_ms: wall time a frame of the whole, by sink.
        share: the bare engine's time over the whole's, by sink; the median of the rounds' ratios.
        share_lanes: the same for the bare engine in lanes.
        outside_cpu_ms: CPU time a frame of the whole without what its lanes spent inside the
            engine, by sink; none where a lane has several threads, whose time no clock tells apart.
        stages: p50 and p95 in milliseconds of each stage of the last round, by sink.
        unaccounted: share (0-1) of the mean latency that the stages leave out, by sink.
    """

    model: str
    frames: int
    lanes: int
    engine_ms: float
    engine_lanes_ms: float
    run_ms: dict[str, float]
    share: dict[str, float]
    share_lanes: dict[str, float]
    outside_cpu_ms: dict[str, float]
    stages: dict[str, dict[str, dict[str, float]]]
    unaccounted: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, rounded."""
        return {name: _rounded(getattr(self, name)) for name in self.__dataclass_fields__}

    def to_markdown(self) -> str:
        """Return a table of the whole and one of the stages."""
        lines = [
            f"### {self.model}",
            "",
            f"{self.frames} frames a round; bare engine {self.engine_ms:.2f} ms a frame, in "
            f"{self.lanes} lanes {self.engine_lanes_ms:.2f} ms.",
            "",
            "| into | a frame | bare engine / whole | in lanes / whole | CPU outside the engine "
            "| stages leave out |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {sink} | {self.run_ms[sink]:.2f} ms | {self.share[sink]:.2f} "
            f"| {self.share_lanes[sink]:.2f} | {_or_dash(self.outside_cpu_ms.get(sink))} "
            f"| {self.unaccounted[sink]:.1%} |"
            for sink in self.run_ms
        ]
        lines += ["", "| stage | " + " | ".join(f"{sink} p50 / p95 ms" for sink in self.stages)]
        lines[-1] += " |"
        lines.append("|---|" + "---|" * len(self.stages))
        for stage in next(iter(self.stages.values())):
            cells = [
                f"{rows[stage]['p50_ms']:.2f} / {rows[stage]['p95_ms']:.2f}"
                for rows in self.stages.values()
            ]
            lines.append(f"| {stage} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Round:
    """Seconds of each party in one round: wall time, and CPU time outside the engine."""

    wall_s: dict[str, float]
    outside_s: dict[str, float]


class _Clocked:
    """An engine whose callers' CPU time inside it is added up, thread by thread."""

    def __init__(self, engine: Engine) -> None:
        self.device = engine.device
        self._engine = engine
        self._cpu_s: dict[int, float] = {}

    @property
    def cpu_s(self) -> float:
        """Seconds so far."""
        return sum(self._cpu_s.values())

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        start_s = time.thread_time()
        images = self._engine.infer(frames)
        thread = threading.get_ident()
        self._cpu_s[thread] = self._cpu_s.get(thread, 0.0) + time.thread_time() - start_s
        return images

    def close(self) -> None:
        self._engine.close()


def measure_pipeline(
    model: Path, video: Path, *, threads: int, rounds: int, folder: Path
) -> PipelineFigures:
    """Time a model's bare engine and the whole of `p2p-run` on a video.

    Args:
        model: the bundle.
        video: the label video.
        threads: CPU threads in all.
        rounds: how often everything takes its turn.
        folder: where the written videos go.
    """
    from p2p_runtime.translate.translator import Translator
    from p2p_runtime.translate.workers import keep_to_lanes, lanes_for, threads_of_a_lane
    from p2p_runtime.video.sources import open_source

    keep_to_lanes()
    lanes = lanes_for("cpu", threads)
    reports: dict[str, RunReport] = {}
    with (
        Translator.load(model, device="cpu", threads=threads, reuse=None) as alone,
        Translator.load(model, device="cpu", threads=threads, lanes=lanes, reuse=None) as whole,
        contextlib.closing(open_source(str(video))) as source,
        ThreadPoolExecutor(lanes) as pool,
    ):
        fitted = [whole.contract.preprocess(frame.image)[None] for frame in source]
        clocked = whole.engine = _Clocked(whole.engine)

        def run(sink: str) -> None:
            reports[sink] = _run(whole, video, sink, folder)

        parties: dict[str, Callable[[], object]] = {
            "engine": lambda: _in_turn(alone, fitted),
            "lanes": lambda: list(pool.map(whole.engine.infer, fitted)),
            "null": lambda: run("null"),
            "mp4": lambda: run("mp4"),
        }
        alone.engine.infer(fitted[0])
        measured = [_take_turns(parties, clocked, first) for first in range(rounds)]
    tells = threads_of_a_lane(lanes, threads) == 1
    return _figures(model.stem, len(fitted), lanes, measured, reports, tells=tells)


def _take_turns(parties: dict[str, Callable[[], object]], engine: _Clocked, first: int) -> _Round:
    """Let every party work once; every round another one begins."""
    names = list(parties)
    first %= len(names)
    wall_s, outside_s = {}, {}
    for name in names[first:] + names[:first]:
        time.sleep(0.1)  # the threads of the party before may still spin
        start_s, start_cpu_s = time.perf_counter(), _cpu_s() - engine.cpu_s
        parties[name]()
        wall_s[name] = time.perf_counter() - start_s
        outside_s[name] = _cpu_s() - engine.cpu_s - start_cpu_s
    return _Round(wall_s=wall_s, outside_s=outside_s)


def _in_turn(translator: Translator, fitted: Sequence[NDArray[np.uint8]]) -> None:
    for frame in fitted:
        translator.engine.infer(frame)


def _run(translator: Translator, video: Path, sink: str, folder: Path) -> RunReport:
    from p2p_runtime.translate.pipeline import run_pipeline
    from p2p_runtime.video.sources import open_source

    planes = translator.fitter.reads_yuv
    with (
        contextlib.closing(open_source(str(video), planes=planes)) as source,
        _sink(sink, source, folder) as open,
    ):
        return run_pipeline(source, translator, open)


@contextlib.contextmanager
def _sink(name: str, source: Any, folder: Path) -> Iterator[FrameSink]:
    from p2p_runtime.video.sinks import NullSink, open_sink

    if name == "null":
        yield NullSink()
        return
    info = source.info
    yield open_sink(
        folder / "out.mp4", width=info.width, height=info.height, fps=info.fps, overwrite=True
    )


def _figures(
    name: str,
    frames: int,
    lanes: int,
    rounds: list[_Round],
    reports: dict[str, RunReport],
    *,
    tells: bool,
) -> PipelineFigures:
    def wall_ms(party: str) -> float:
        return statistics.median(turn.wall_s[party] for turn in rounds) / frames * 1e3

    def ratio(party: str, sink: str) -> float:
        return statistics.median(turn.wall_s[party] / turn.wall_s[sink] for turn in rounds)

    def outside_ms(sink: str) -> float:
        return statistics.median(turn.outside_s[sink] for turn in rounds) / frames * 1e3

    return PipelineFigures(
        model=name,
        frames=frames,
        lanes=lanes,
        engine_ms=wall_ms("engine"),
        engine_lanes_ms=wall_ms("lanes"),
        run_ms={sink: wall_ms(sink) for sink in SINKS},
        share={sink: ratio("engine", sink) for sink in SINKS},
        share_lanes={sink: ratio("lanes", sink) for sink in SINKS},
        outside_cpu_ms={sink: outside_ms(sink) for sink in SINKS} if tells else {},
        stages={sink: reports[sink].stages for sink in SINKS},
        unaccounted={sink: _unaccounted(reports[sink]) for sink in SINKS},
    )


def _unaccounted(report: RunReport) -> float:
    means = {stage: row["mean_ms"] for stage, row in report.stages.items()}
    latency_ms = means.pop("latency")
    del means["decode"]  # it ends where the latency begins
    return abs(1 - sum(means.values()) / latency_ms)


def _or_dash(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.2f} ms"


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


@click.command(cls=P2PCommand)
@click.option(
    "--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True
)
@click.option(
    "--model",
    "models",
    multiple=True,
    type=_FILE,
    help="Bundle to measure. [default: int8 with random weights, widths 16 and 64]",
)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option("--rounds", metavar="N", type=click.IntRange(1), default=7, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(
    video: Path, models: tuple[Path, ...], threads: int, rounds: int, output: Path | None
) -> None:
    """Say, stage by stage, what p2p-run adds to the engine; Markdown on stdout."""
    setup_logging()
    from p2p_runtime.files import write_json

    from .machine import describe_machine

    machine = describe_machine(threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = models or _random_models(folder)
        figures = [
            measure_pipeline(model, video, threads=threads, rounds=rounds, folder=folder)
            for model in found
        ]
    for figure in figures:
        click.echo(figure.to_markdown())
    if output is not None:
        document = {
            "schema": PIPELINE_SCHEMA,
            "machine": machine,
            "rounds": rounds,
            "models": [figure.to_json() for figure in figures],
        }
        write_json(output, document)


def _random_models(folder: Path) -> tuple[Path, ...]:
    from experiments.random_model import write_random_model

    return tuple(write_random_model(folder / f"ngf{ngf}-int8.onnx", ngf=ngf) for ngf in (16, 64))


if __name__ == "__main__":
    main()
