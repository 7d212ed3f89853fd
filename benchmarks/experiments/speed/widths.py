"""``python -m experiments.speed.widths``: time each precision for generators of several widths.

The weights are random: they decide what an image looks like, not how long it takes. Two more
columns time the int8 graph with float ends, and with ONNX's DepthToSpace operator in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness import Document, files_option, frames_option, study, threads_option

if TYPE_CHECKING:
    from p2p_bench.backends.registry import Backend
    from p2p_bench.files import Files
    from p2p_bench.measure import Latency

__all__ = ["main", "table", "time_bundles", "time_width"]

WIDTHS = (16, 32, 64)
SIDE_PX = 256
SMOKE_WIDTHS, SMOKE_SIDE_PX = (2,), 32


def time_width(files: Files, *, frames: int, threads: int) -> list[Latency]:
    """Time torch eager, fp32, int8 and its two other forms of one generator.

    Args:
        files: of :func:`experiments.random_models.write_random_run`.
        frames: timed frames of each.
        threads: CPU threads.
    """
    from experiments.random_models import DEPTH_TO_SPACE, FLOAT_ENDS
    from p2p_bench.backends.registry import BACKENDS, EAGER, runtime_backend

    others = [runtime_backend(one, one, one) for one in (FLOAT_ENDS, DEPTH_TO_SPACE)]
    backends = [*(BACKENDS[name] for name in (EAGER, "fp32", "int8")), *others]
    return _latencies(backends, files, frames, threads)


def time_bundles(
    files: Files, bundles: dict[str, Path], *, frames: int, threads: int
) -> list[Latency]:
    """Time bundles of any width against a generator in torch eager, in one run.

    Args:
        files: the generator of the reference.
        bundles: by name.
        frames: timed frames of each.
        threads: CPU threads.
    """
    from p2p_bench.backends.registry import BACKENDS, EAGER, runtime_backend

    others = [runtime_backend(name, name, name) for name in bundles]
    return _latencies([BACKENDS[EAGER], *others], replace(files, bundles=bundles), frames, threads)


def _latencies(
    backends: Sequence[Backend], files: Files, frames: int, threads: int
) -> list[Latency]:
    from p2p_bench.files import bench_frames
    from p2p_bench.run import compare

    inputs, _ = bench_frames(files, None, frames, batch=1)
    rows = compare(backends, files, inputs, threads)
    return [row.latency for row in rows if row.latency is not None]


def table(document: Document) -> str:
    """Return a table of precisions by width, and one of the narrow int8 bundles."""
    from experiments.harness import markdown_table

    widths = document["median_ms"]
    names = list(next(iter(widths.values())))
    rows = [
        [width, *(f"{row[name]:.1f} ms, {row[names[0]] / row[name]:.1f}x" for name in names)]
        for width, row in widths.items()
    ]
    narrow = [
        [name, f"{one['median_ms']:.1f} ms", f"{one['speedup']:.1f}x"]
        for name, one in document["students"].items()
    ]
    return "\n\n".join(
        [
            markdown_table(["width", *names], rows),
            f"In one run with torch eager at width {list(widths)[-1].removeprefix('ngf ')}:",
            markdown_table(["bundle", "median", "speed-up"], narrow),
        ]
    )


@study(
    "widths",
    frames_option(60),
    threads_option(1),
    files_option("--bundle", "bundles", "Bundle of 256x256 px to time, too.", required=False),
    table=table,
)
def main(*, frames: int, threads: int, bundles: tuple[Path, ...], smoke: bool) -> Document:
    """Time torch eager, fp32 and three forms of int8 at several widths, 256x256, batch 1."""
    from experiments.random_models import write_random_run

    widths, side_px = (SMOKE_WIDTHS, SMOKE_SIDE_PX) if smoke else (WIDTHS, SIDE_PX)
    medians, narrow = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for ngf in widths:
            folder = Path(scratch) / str(ngf)
            folder.mkdir()
            files = write_random_run(folder, ngf=ngf, height=side_px, width=side_px)
            latencies = time_width(files, frames=frames, threads=threads)
            medians[f"ngf {ngf}"] = {one.name: one.median_ms for one in latencies}
            narrow[f"int8, ngf {ngf}"] = files.bundles["int8"]
        narrow |= {f"{path.parent.name}/{path.name}": path for path in bundles}
        timed = time_bundles(files, narrow, frames=frames, threads=threads)
    students = {one.name: {"median_ms": one.median_ms, "speedup": one.speedup} for one in timed}
    return {"frames": frames, "median_ms": medians, "students": students}


if __name__ == "__main__":
    main()
