"""``python -m p2p_bench.shapes``: what fewer halvings and capped channels save at one width.

The weights are random, as in :mod:`.widths`: sizes and milliseconds, no figures of quality.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.bundle import ModelBundle
    from p2p_train.config import TrainConfig

__all__ = ["ShapeRow", "main", "measure_shapes", "shapes_of"]

CALIBRATION_FRAMES = 8


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
    import numpy as np
    import onnx

    from p2p_export.inspecting import cost_of
    from p2p_runtime.engines import open_engine
    from p2p_train.scenes import draw_scene

    from .measure import measure

    first = next(iter(configs.values()))
    seeds = range(CALIBRATION_FRAMES)
    inputs = np.stack([draw_scene(seed, first.height, first.width)[0] for seed in seeds])
    with tempfile.TemporaryDirectory() as scratch:
        bundles = {
            name: _bundle(config, inputs, Path(scratch) / f"{number}.onnx")
            for number, (name, config) in enumerate(configs.items())
        }
        engines = {name: open_engine(b, "cpu", threads) for name, b in bundles.items()}
        try:
            rows = measure(engines, [inputs[[n % len(inputs)]] for n in range(frames)])
        finally:
            for engine in engines.values():
                engine.close()
        costs = {name: cost_of(onnx.load(bundle.path)) for name, bundle in bundles.items()}
        return [
            ShapeRow(
                name=row.name,
                parameters_m=costs[row.name].parameters / 1e6,
                gmac=costs[row.name].macs / 1e9,
                file_mb=bundles[row.name].path.stat().st_size / 1e6,
                median_ms=row.median_ms,
            )
            for row in rows
        ]


def _bundle(config: TrainConfig, inputs: NDArray[np.uint8], path: Path) -> ModelBundle:
    """Write a generator with random weights in int8; its golden frame is not replayed here."""
    import torch

    from p2p_export.graph import PixelGenerator, fold, swap_channels, with_integer_ups
    from p2p_export.int8 import PROFILES, Quantiser
    from p2p_export.to_onnx import to_onnx
    from p2p_runtime.bundle import BundleInfo, GoldenFrame, ModelBundle
    from p2p_runtime.contract import PixelContract
    from p2p_runtime.palette import CITYSCAPES
    from p2p_runtime.safety import payload_sha256
    from p2p_train.checkpoint import make_generator

    contract = PixelContract(height=config.height, width=config.width, palette=CITYSCAPES)
    torch.manual_seed(0)
    generator = with_integer_ups(swap_channels(fold(make_generator(config))))
    floating = to_onnx(PixelGenerator(generator, order="bgr"), contract)
    graph = Quantiser(floating, inputs, PROFILES["x86"], path.parent).quantise([])
    path.write_bytes(graph)
    info = BundleInfo(
        contract=contract,
        precision="int8",
        golden=GoldenFrame.record(inputs[0], 0),
        payload_sha256=payload_sha256(graph),
    )
    return ModelBundle(path=path, info=info)


@click.command(cls=P2PCommand)
@click.option("--ngf", metavar="N", type=click.IntRange(1), default=32, show_default=True)
@click.option("--frames", metavar="N", type=click.IntRange(2), default=60, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path))
def main(ngf: int, frames: int, threads: int, output: Path | None) -> None:
    """Count and time int8 generators of one width and several shapes, 256x256, batch 1."""
    setup_logging()
    from p2p_runtime.files import write_text
    from p2p_train.config import TrainConfig

    from .report import describe_machine

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
        write_text(output, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
