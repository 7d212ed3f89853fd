"""``python -m p2p_bench.widths``: what each precision costs for generators of several widths.

The weights are random: they decide what a picture looks like, not what it costs. The graphs are the
exporter's own, without its gates; so there are no parity figures here, only milliseconds. A last
row times the integer graph with ONNX's DepthToSpace in the place of our own shuffle.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from p2p_runtime.engines.base import Engine

    from .measure import Row

__all__ = ["main", "time_width"]

CALIBRATION_FRAMES = 8
WIDTHS = (16, 32, 64)
DEPTH_TO_SPACE = "int8, DepthToSpace"


def time_width(ngf: int, *, side_px: int, frames: int, threads: int) -> list[Row]:
    """Return a row each for torch eager, fp32, int8 and int8 with DepthToSpace, at one width.

    Args:
        ngf: width of the generator.
        side_px: height and width of the frames in pixels.
        frames: timed frames a backend.
        threads: CPU threads of each backend.
    """
    import numpy as np

    from p2p_train.scenes import draw_scene

    from .measure import measure

    scenes = [draw_scene(seed, side_px, side_px)[0] for seed in range(CALIBRATION_FRAMES)]
    inputs = np.stack(scenes)
    with tempfile.TemporaryDirectory() as folder:
        engines = _engines(ngf, inputs, Path(folder), threads)
        try:
            return measure(engines, [inputs[n % len(inputs)][None] for n in range(frames)])
        finally:
            for engine in engines.values():
                engine.close()


def _engines(ngf: int, inputs: NDArray[np.uint8], folder: Path, threads: int) -> dict[str, Engine]:
    """Export a generator with random weights and open all four forms of it."""
    import torch

    from p2p_export.graph import PixelGenerator, fold, swap_channels, with_integer_ups
    from p2p_export.int8 import PROFILES, Quantiser
    from p2p_export.to_onnx import to_onnx
    from p2p_runtime.bundle import BundleInfo, GoldenFrame, ModelBundle
    from p2p_runtime.contract import PixelContract
    from p2p_runtime.engines import open_engine
    from p2p_runtime.palette import CITYSCAPES
    from p2p_runtime.safety import payload_sha256
    from p2p_train.checkpoint import Checkpoint, make_generator
    from p2p_train.config import TrainConfig

    from .depth_to_space import with_depth_to_space
    from .eager import EagerEngine

    height, width = inputs.shape[1:3]
    config = TrainConfig(ngf=ngf, height=height, width=width)
    contract = PixelContract(height=height, width=width, palette=CITYSCAPES)
    torch.manual_seed(0)
    generator = make_generator(config)
    Checkpoint(
        config=config,
        contract=contract,
        generator=generator.state_dict(),
        frames=torch.from_numpy(inputs),
        progress={},
        dataset={},
    ).save(folder / "random.pt")

    def quantise(module: nn.Module) -> bytes:
        graph = to_onnx(PixelGenerator(module, order="bgr"), contract)
        return Quantiser(graph, inputs, PROFILES["x86"], folder).quantise([])

    folded = swap_channels(fold(generator))
    integer_ups = with_integer_ups(folded)
    graphs = {
        "fp32": to_onnx(PixelGenerator(folded, order="bgr"), contract),
        "int8": quantise(integer_ups),
        DEPTH_TO_SPACE: quantise(with_depth_to_space(integer_ups)),
    }
    engines: dict[str, Engine] = {"eager": EagerEngine(folder / "random.pt", threads)}
    for name, graph in graphs.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(graph)
        info = BundleInfo(
            contract=contract,
            precision=name.partition(",")[0],
            golden=GoldenFrame.record(inputs[0], 0),
            payload_sha256=payload_sha256(graph),
        )
        bundle = ModelBundle(path=path, info=info)
        engines[name] = open_engine(bundle, device="cpu", threads=threads)
    return engines


@click.command(cls=P2PCommand)
@click.option("--frames", metavar="N", type=click.IntRange(2), default=60, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(frames: int, threads: int, output: Path | None) -> None:
    """Time torch eager, fp32 and two forms of int8 at widths 16, 32 and 64, 256x256, batch 1."""
    setup_logging()
    from p2p_runtime.files import write_text

    from .report import describe_machine

    machine = describe_machine(threads)
    figures: dict[str, dict[str, float]] = {}
    for ngf in WIDTHS:
        rows = time_width(ngf, side_px=256, frames=frames, threads=threads)
        figures[f"ngf {ngf}"] = {row.name: round(row.median_ms, 2) for row in rows}
        cells = "  ".join(f"{row.name} {row.median_ms:.1f} ms ({row.speedup:.2f}x)" for row in rows)
        click.echo(f"ngf {ngf}: {cells}")
    if output is not None:
        document = {"machine": machine, "frames": frames, "median_ms": figures}
        write_text(output, json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
