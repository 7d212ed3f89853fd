"""``python -m experiments.speed.shapes``: count what fewer blocks and capped channels save.

The weights are random, as in :mod:`.widths`: sizes and milliseconds, no figures of quality.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    from p2p_train.config import TrainConfig

__all__ = ["ShapeRow", "main", "measure_shapes", "shapes_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeRow:
    """What one shape costs in int8.

    Attributes:
        name: its flags.
        parameters_m, gmac: millions of weights, and 10^9 multiplications a frame.
        file_mb: size of the int8 file in 10^6 bytes.
        median_ms: a frame, from host memory to host memory.
    """

    name: str
    parameters_m: float
    gmac: float
    file_mb: float
    median_ms: float


def shapes_of(ngf: int) -> dict[str, dict[str, Any]]:
    """Return the shapes that are compared: settings of the generator, by their flags."""
    halved: dict[str, dict[str, Any]] = {
        f"--downs {downs}": {"downs": downs} for downs in (7, 6, 5)
    }
    capped = {f"--max-width {width}": {"max_width": width} for width in (4 * ngf, 2 * ngf)}
    both = {f"--downs 6 --max-width {4 * ngf}": {"downs": 6, "max_width": 4 * ngf}}
    return {"as published": {}, **halved, **capped, **both}


def measure_shapes(configs: dict[str, TrainConfig], *, frames: int, threads: int) -> list[ShapeRow]:
    """Return a row for each config, by name; their int8 files take turns.

    Args:
        configs: of one image size.
        frames: timed frames a shape.
        threads: CPU threads of each model.
    """
    import onnx

    from experiments.random_models import write_random_int8
    from p2p_bench.backends.runtime_backend import RuntimeBackend
    from p2p_bench.files import Files
    from p2p_bench.inputs import bench_frames
    from p2p_bench.run import compare
    from p2p_export.inspecting import cost_of

    with tempfile.TemporaryDirectory() as scratch:
        written = {
            name: write_random_int8(Path(scratch) / f"{number}.onnx", config)
            for number, (name, config) in enumerate(configs.items())
        }
        bundles = {name: files.bundles["int8"] for name, files in written.items()}
        contract = next(iter(written.values())).contract
        files = Files(bundles=bundles, checkpoint=None, contract=contract)
        backends = [RuntimeBackend(name=name, what=name, needs=name) for name in bundles]
        inputs, _ = bench_frames(files, None, frames, batch=1)
        rows, _ = compare(backends, files, inputs, threads)
        costs = {name: cost_of(onnx.load(path)) for name, path in bundles.items()}
        return [
            ShapeRow(
                name=row.name,
                parameters_m=costs[row.name].parameters / 1e6,
                gmac=costs[row.name].macs / 1e9,
                file_mb=bundles[row.name].stat().st_size / 1e6,
                median_ms=row.latency.median_ms,
            )
            for row in rows
            if row.latency is not None
        ]


@click.command(cls=P2PCommand)
@click.option("--ngf", metavar="N", type=click.IntRange(1), default=32, show_default=True)
@click.option("--frames", metavar="N", type=click.IntRange(2), default=60, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path))
def main(ngf: int, frames: int, threads: int, output: Path | None) -> None:
    """Count and time int8 generators of one width and several shapes, 256x256, batch 1."""
    setup_logging()
    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json
    from p2p_train.config import TrainConfig

    machine = describe_machine(threads)
    configs = {name: TrainConfig(ngf=ngf, **shape) for name, shape in shapes_of(ngf).items()}
    rows = measure_shapes(configs, frames=frames, threads=threads)
    click.echo(
        f"| ngf {ngf} | parameters, M | GMAC | int8 file, MB | int8, ms |\n|---|---|---|---|---|"
    )
    for row in rows:
        click.echo(
            f"| {row.name} | {row.parameters_m:.2f} | {row.gmac:.2f} | {row.file_mb:.1f} "
            f"| {row.median_ms:.2f} |"
        )
    if output is not None:
        document = {"machine": machine, "ngf": ngf, "rows": [asdict(row) for row in rows]}
        write_json(output, document)


if __name__ == "__main__":
    main()
