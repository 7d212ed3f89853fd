"""``python -m experiments.speed.scaling``: how cost grows with size, width, batch and threads.

One thing grows at a time, the rest stays at width 32, 256x256, batch 1, two threads. The weights
are random. Axes can be measured one by one: each call replaces its own in the JSON file.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    from p2p_bench.files import Files

__all__ = ["AXES", "ROWS", "Point", "main", "model_of", "time_point"]

SCALING_SCHEMA = 1
ROWS = ("eager", "fp32", "int8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What is measured: a generator's width, its frames, how many at once, on how many threads."""

    ngf: int = 32
    height: int = 256
    width: int = 256
    batch: int = 1
    threads: int = 2


_BASE = Point()
AXES: dict[str, tuple[Point, ...]] = {
    "size": tuple(
        replace(_BASE, height=height, width=width)
        for height, width in ((128, 128), (256, 256), (256, 512), (512, 512))
    ),
    "ngf": tuple(replace(_BASE, ngf=ngf) for ngf in (16, 32, 64)),
    "batch": tuple(replace(_BASE, batch=batch) for batch in (1, 2, 4, 8)),
    "threads": tuple(replace(_BASE, threads=threads) for threads in (1, 2)),
}


def model_of(point: Point, models: Path) -> Files:
    """Return a point's generator; it is made unless it lies there already.

    Args:
        point: gives its width and the size of its frames.
        models: a folder of such models.
    """
    from experiments.random_models import CHECKPOINT_NAME, write_random_run
    from p2p_bench.files import find_files

    folder = models / f"ngf{point.ngf}-{point.height}x{point.width}"
    if not (folder / CHECKPOINT_NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_random_run(folder, ngf=point.ngf, height=point.height, width=point.width)
    return find_files(folder, folder / CHECKPOINT_NAME)


def time_point(point: Point, files: Files, names: Sequence[str], frames: int) -> dict[str, Any]:
    """Return a point's figures: its work, and median and p99 of a frame by backend.

    Args:
        point: what to measure.
        files: its generator.
        names: backends; the first is the reference.
        frames: timed calls a backend.
    """
    from p2p_bench.backends.registry import BACKENDS
    from p2p_bench.inputs import bench_frames
    from p2p_bench.run import compare, gmac_of

    inputs, _ = bench_frames(files, None, frames, point.batch)
    rows, _ = compare([BACKENDS[name] for name in names], files, inputs, point.threads)
    timed = [row.latency for row in rows if row.latency is not None]
    return {
        **asdict(point),
        "gmac": gmac_of(files),
        "median_ms": {one.name: round(one.median_ms / point.batch, 3) for one in timed},
        "p99_ms": {one.name: round(one.p99_ms / point.batch, 3) for one in timed},
    }


@click.command(cls=P2PCommand)
@click.option("--axis", "axes", type=click.Choice(list(AXES)), multiple=True, help="Not all.")
@click.option(
    "--models",
    "kept",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Keep the models here, for another call.",
)
@click.option("--prepare", is_flag=True, help="Only make the models.")
@click.option("--frames", metavar="N", type=click.IntRange(2), default=20, show_default=True)
@click.option(
    "--json",
    "output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default="scaling.json",
    show_default=True,
)
def main(
    axes: tuple[str, ...], kept: Path | None, prepare: bool, frames: int, output: Path
) -> None:
    """Time torch and our exports while one thing grows; milliseconds are those of one frame."""
    setup_logging()
    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json

    known = json.loads(output.read_text(encoding="utf-8"))["axes"] if output.exists() else {}
    timed: dict[Point, dict[str, Any]] = {}
    with contextlib.ExitStack() as scratch:
        models = kept or Path(scratch.enter_context(tempfile.TemporaryDirectory()))
        found = {axis: [model_of(p, models) for p in AXES[axis]] for axis in axes or AXES}
        for axis in () if prepare else found:
            machine = describe_machine(None)
            for point, files in zip(AXES[axis], found[axis], strict=True):
                if point not in timed:  # axes cross at one point, which is measured once
                    timed[point] = time_point(point, files, ROWS, frames)
            points = [timed[point] for point in AXES[axis]]
            known[axis] = {"machine": machine, "frames": frames, "points": points}
            for line in _lines(points):
                click.echo(f"{axis}: {line}")
            document = {"schema": SCALING_SCHEMA, "axes": known}
            write_json(output, document)


def _lines(points: list[dict[str, Any]]) -> Iterator[str]:
    for point in points:
        cells = "  ".join(f"{name} {ms:.1f} ms" for name, ms in point["median_ms"].items())
        yield (
            f"ngf {point['ngf']}, {point['height']}x{point['width']}, batch {point['batch']}, "
            f"{point['threads']} threads: {cells}"
        )


if __name__ == "__main__":
    main()
