"""``python -m experiments.speed.crosscheck``: does a benchmark agree with an outside clock?

A program that only loads a model and translates frames runs under ``/usr/bin/time``, once with few
frames and once with many. The difference of the two wall times, over the difference in frames, is
the time of a frame: loading, warming up and ending are in both and cancel.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, setup_logging
from p2p_runtime.errors import P2PError

__all__ = ["main", "whole_process_ms"]

CROSSCHECK_SCHEMA = 1
TIME = "/usr/bin/time"
REPEATS = 3
FEW = 10


@click.command(cls=P2PCommand)
@click.argument("backend")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("frames", type=int)
@click.argument("threads", type=int)
@click.argument("checkpoint", type=click.Path(path_type=Path), required=False)
def _translate(
    backend: str, model: Path, frames: int, threads: int, checkpoint: Path | None
) -> None:
    """Load a model, translate frames, end. There is no clock in here."""
    from p2p_bench.backends.registry import BACKENDS
    from p2p_bench.files import find_files
    from p2p_bench.inputs import bench_frames

    row = BACKENDS[backend]
    files = find_files(model, checkpoint)
    path = files.find(row.needs)
    if path is None:
        raise P2PError(f"there is no {row.needs} in {model}")
    inputs, _ = bench_frames(files, None, min(frames, 8), 1)
    engine = row.open(path, threads)
    for number in range(frames):
        engine.infer(inputs[number % len(inputs)])


def whole_process_ms(
    backend: str, model: Path, frames: int, threads: int, checkpoint: Path | None = None
) -> float:
    """Return milliseconds a frame, from wall times of whole processes.

    Args:
        backend: a row of the benchmark.
        model: a folder of bundles.
        frames: by how many the long run is longer.
        threads: CPU threads.
        checkpoint: for torch; None for the one that lies in the bundles' run.

    Raises:
        P2PError: there is no ``/usr/bin/time``, or the program failed.
    """
    code = "from experiments.speed.crosscheck import _translate; _translate()"
    differences = []
    for _ in range(REPEATS):
        seconds = []
        for count in (FEW, FEW + frames):
            words = [backend, str(model), str(count), str(threads)]
            words += [] if checkpoint is None else [str(checkpoint)]
            command = [TIME, "-f", "%e", sys.executable, "-c", code, *words]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise P2PError(f"{TIME} is not here: {error}") from error
            if done.returncode:
                raise P2PError(f"{backend} failed: {done.stderr.strip()}")
            seconds.append(float(done.stderr.split()[-1]))
        differences.append((seconds[1] - seconds[0]) / frames * 1e3)
    return statistics.median(differences)


@click.command(cls=P2PCommand)
@click.option("--model", metavar="FOLDER", type=click.Path(path_type=Path), required=True)
@click.option(
    "--checkpoint",
    metavar="FILE.pt",
    type=click.Path(path_type=Path),
    help="What torch runs.  [default: the one in the bundles' run]",
)
@click.option("--backends", metavar="NAME,...", default="eager,fp32,int8", show_default=True)
@click.option("--frames", metavar="N", type=click.IntRange(20), default=100, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--json",
    "output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default="crosscheck.json",
    show_default=True,
)
def main(
    model: Path,
    checkpoint: Path | None,
    backends: str,
    frames: int,
    threads: int,
    output: Path,
) -> None:
    """Time backends by p2p-bench and by whole processes, one right after the other."""
    setup_logging()
    from p2p_bench.machine import describe_machine
    from p2p_bench.run import BenchOptions, bench
    from p2p_runtime.files import write_json

    machine = describe_machine(threads)
    names = tuple(backends.split(","))
    request = BenchOptions(
        model=model, checkpoint=checkpoint, names=names, frames=frames, threads=threads
    )
    rows: dict[str, Any] = {}
    for row, latency in bench(request).timed:
        whole_ms = whole_process_ms(row.name, model, frames, threads, checkpoint)
        rows[row.name] = {
            "what": row.what,
            "bench_ms": round(latency.median_ms, 3),
            "whole_process_ms": round(whole_ms, 3),
            "difference": round(latency.median_ms / whole_ms - 1, 4),
        }
        click.echo(f"{row.name}: {rows[row.name]}")
    document = {"schema": CROSSCHECK_SCHEMA, "machine": machine, "frames": frames, "rows": rows}
    write_json(output, document)


if __name__ == "__main__":
    main()
