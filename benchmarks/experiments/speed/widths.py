"""``python -m experiments.speed.widths``: time each precision for generators of several widths.

The weights are random; so there are no parity figures here, only milliseconds. Two more rows time
the integer graph with float ends, and with ONNX's DepthToSpace in the place of our own shuffle.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    from p2p_bench.report import Row

__all__ = ["main", "time_students", "time_width"]

WIDTHS = (16, 32, 64)


def time_width(ngf: int, *, side_px: int, frames: int, threads: int) -> tuple[Row, ...]:
    """Return a row each for torch eager, fp32, int8 and its two other forms, at one width.

    Args:
        ngf: width of the generator.
        side_px: height and width of the frames in pixels.
        frames: timed frames a backend.
        threads: CPU threads of each backend.
    """
    from experiments.random_models import DEPTH_TO_SPACE, FLOAT_ENDS, write_random_run
    from p2p_bench.backends.registry import BACKENDS, EAGER
    from p2p_bench.backends.runtime_backend import RuntimeBackend
    from p2p_bench.inputs import bench_frames
    from p2p_bench.run import compare

    others = [RuntimeBackend(name=one, what=one, needs=one) for one in (FLOAT_ENDS, DEPTH_TO_SPACE)]
    backends = [*(BACKENDS[name] for name in (EAGER, "fp32", "int8")), *others]
    with tempfile.TemporaryDirectory() as folder:
        files = write_random_run(Path(folder), ngf=ngf, height=side_px, width=side_px)
        inputs, _ = bench_frames(files, None, frames, batch=1)
        rows, _ = compare(backends, files, inputs, threads)
    return rows


def time_students(
    widths: Sequence[int],
    *,
    side_px: int,
    frames: int,
    threads: int,
    bundles: Sequence[Path] = (),
) -> tuple[Row, ...]:
    """Return a row for the widest generator in torch eager, and one for each width in int8.

    All take turns in one run: what a student in integers saves against the published network.

    Args:
        widths: of the generators.
        side_px, frames, threads: as for :func:`time_width`.
        bundles: exported models of the same size, to be timed beside them.
    """
    from experiments.random_models import write_random_run
    from p2p_bench.backends.registry import BACKENDS, EAGER
    from p2p_bench.backends.runtime_backend import RuntimeBackend
    from p2p_bench.inputs import bench_frames
    from p2p_bench.run import compare

    with tempfile.TemporaryDirectory() as scratch:
        runs = {}
        for ngf in sorted(widths):
            folder = Path(scratch) / str(ngf)
            folder.mkdir()
            runs[ngf] = write_random_run(folder, ngf=ngf, height=side_px, width=side_px)
        students = {f"int8, ngf {ngf}": run.bundles["int8"] for ngf, run in runs.items()}
        students |= {f"{path.parent.name}/{path.name}": path for path in bundles}
        files = replace(runs[max(widths)], bundles=students)
        rivals = [RuntimeBackend(name=name, what=name, needs=name) for name in students]
        inputs, _ = bench_frames(files, None, frames, batch=1)
        rows, _ = compare([BACKENDS[EAGER], *rivals], files, inputs, threads)
    return rows


@click.command(cls=P2PCommand)
@click.option("--frames", metavar="N", type=click.IntRange(2), default=60, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option(
    "--student",
    "bundles",
    multiple=True,
    metavar="MODEL.onnx",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An exported student of 256x256 px, to be timed beside them.",
)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(frames: int, threads: int, bundles: tuple[Path, ...], output: Path | None) -> None:
    """Time torch eager, fp32 and three forms of int8 at widths 16, 32 and 64, 256x256, batch 1."""
    setup_logging()
    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json

    machine = describe_machine(threads)
    figures: dict[str, dict[str, float]] = {}
    for ngf in WIDTHS:
        rows = time_width(ngf, side_px=256, frames=frames, threads=threads)
        latencies = [row.latency for row in rows if row.latency is not None]
        figures[f"ngf {ngf}"] = {one.name: round(one.median_ms, 2) for one in latencies}
        cells = [f"{one.name} {one.median_ms:.1f} ms ({one.speedup:.2f}x)" for one in latencies]
        click.echo(f"ngf {ngf}: {'  '.join(cells)}")
    rows = time_students((8, *WIDTHS), side_px=256, frames=frames, threads=threads, bundles=bundles)
    students = {row.latency.name: row.latency for row in rows if row.latency is not None}
    cells = [
        f"{name} {one.median_ms:.1f} ms ({one.speedup:.1f}x)" for name, one in students.items()
    ]
    click.echo(f"eager at ngf {max(WIDTHS)} and int8, in one run: {'  '.join(cells)}")
    if output is not None:
        document = {
            "machine": machine,
            "frames": frames,
            "median_ms": figures,
            "students": {
                name: {"median_ms": round(one.median_ms, 2), "speedup": round(one.speedup, 2)}
                for name, one in students.items()
            },
        }
        write_json(output, document)


if __name__ == "__main__":
    main()
