"""``python -m experiments.speed.scaling``: time a generator as size, width, batch or threads grow.

Along each axis one thing grows; the rest stays at width 32, 256x256, batch 1, two threads. Of
pixels, the generator is that of ``--recipe edge``, whose sizes are multiples of 32 px. The weights
are random.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.harness import Document, frames_option, study

if TYPE_CHECKING:
    from p2p_bench.files import Files

__all__ = ["AXES", "Point", "main", "table", "time_point"]

BACKENDS_COMPARED = ("eager", "fp32", "int8")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A configuration to time: the generator, its frames, batch size and CPU threads."""

    ngf: int = 32
    height: int = 256
    width: int = 256
    batch: int = 1
    threads: int = 2
    num_downs: int | None = None


_BASE = Point()
_EDGE = Point(ngf=16, num_downs=5)
AXES: dict[str, tuple[Point, ...]] = {
    "size": tuple(
        replace(_BASE, height=height, width=width)
        for height, width in ((128, 128), (256, 256), (256, 512), (512, 512))
    ),
    "pixels": tuple(
        replace(_EDGE, height=height, width=width)
        for height, width in ((256, 256), (256, 512), (544, 960), (736, 1280))
    ),
    "ngf": tuple(replace(_BASE, ngf=ngf) for ngf in (16, 32, 64)),
    "batch": tuple(replace(_BASE, batch=batch) for batch in (1, 2, 4, 8)),
    "threads": tuple(replace(_BASE, threads=threads) for threads in (1, 2)),
}
"""Configurations of each axis."""
SMOKE_AXES = {
    "batch": (Point(ngf=2, height=32, width=32, batch=2, threads=1),),
    "pixels": (Point(ngf=2, height=32, width=64, threads=1, num_downs=4),),
}


def time_point(point: Point, files: Files, frames: int) -> dict[str, Any]:
    """Return the point, its GMAC, and time per frame (ms) and memory (MiB) by backend."""
    from p2p_bench.backends.registry import BACKENDS
    from p2p_bench.inputs import bench_frames
    from p2p_bench.run import compare, gmac_of

    inputs, _ = bench_frames(files, None, frames, point.batch)
    backends = [BACKENDS[name] for name in BACKENDS_COMPARED]
    rows = compare(backends, files, inputs, point.threads)
    latencies = [row.latency for row in rows if row.latency is not None]
    return {
        **asdict(point),
        "gmac": gmac_of(files),
        "median_ms": {one.name: one.median_ms / point.batch for one in latencies},
        "p99_ms": {one.name: one.p99_ms / point.batch for one in latencies},
        "peak_rss_mib": {row.name: row.peak_rss_mib for row in rows},
    }


def table(document: Document) -> str:
    """Return a table per axis: milliseconds per frame and speed-up over the first backend.

    Of pixels, also int8's time per megapixel and the memory of its process.
    """
    from p2p_bench.report import markdown_table

    parts = []
    for axis, points in document["axes"].items():
        names = list(points[0]["median_ms"])
        rows = [_cells(axis, point, names) for point in points]
        more = ["int8 per megapixel", "int8 process"] if axis == "pixels" else []
        parts.append(markdown_table([axis, "GMAC per frame", *names, *more], rows))
    return "\n\n".join(parts)


def _cells(axis: str, point: dict[str, Any], names: list[str]) -> list[str]:
    size = f"{point['width']}x{point['height']}"
    medians = point["median_ms"]
    cells = [
        size if axis in ("size", "pixels") else str(point[axis]),
        f"{point['gmac']:.2f}",
        *(f"{medians[name]:.1f} ms, {medians[names[0]] / medians[name]:.1f}x" for name in names),
    ]
    if axis != "pixels":
        return cells
    megapixels = point["width"] * point["height"] / 1e6
    memory = f"{point['peak_rss_mib']['int8']:.0f} MiB"
    return [*cells, f"{medians['int8'] / megapixels:.1f} ms", memory]


@study("scaling", frames_option(20), table=table)
def main(*, frames: int, smoke: bool) -> Document:
    """Time torch and our exports while one thing grows; milliseconds are per frame."""
    axes = SMOKE_AXES if smoke else AXES
    timed: dict[Point, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for point in {point: None for points in axes.values() for point in points}:
            timed[point] = time_point(point, _model(point, Path(scratch)), frames)
    points = {axis: [timed[point] for point in points] for axis, points in axes.items()}
    return {"frames": frames, "axes": points}


def _model(point: Point, folder: Path) -> Files:
    """Return the generator of a point, written once for all points that share it."""
    from experiments.random_models import CHECKPOINT_NAME, write_random_run
    from p2p_bench.files import find_files

    models = folder / f"ngf{point.ngf}-{point.num_downs}-{point.width}x{point.height}"
    if models.exists():
        return find_files(models, models / CHECKPOINT_NAME)
    models.mkdir()
    size = {"ngf": point.ngf, "height": point.height, "width": point.width}
    return write_random_run(models, **size, num_downs=point.num_downs, forms=BACKENDS_COMPARED[1:])


if __name__ == "__main__":
    main()
