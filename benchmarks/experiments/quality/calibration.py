"""``python -m experiments.quality.calibration``: compare ways to calibrate an int8 generator.

One trained generator, one set of calibration inputs, every way of ONNX Runtime to make ranges of
them; the integer graphs are compared with the torch module on validation inputs that no range saw.
A last row has the ends in float: what integers between pixel and pixel cost.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from p2p_runtime.console import P2PCommand, setup_logging

__all__ = ["FLOAT_ENDS", "CalibrationRow", "main", "measure_calibrations"]

VALIDATION_FRAMES = 64
FLOAT_ENDS = "minmax, float ends"


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """What one kind of ranges is worth.

    Attributes:
        calibration: a key of :data:`p2p_export.graph.int8.CALIBRATIONS`, or :data:`FLOAT_ENDS`.
        psnr_db, worst_psnr_db: mean and least PSNR to the torch module over the validation frames.
        mean_levels: mean difference of a value, in levels of 0-255.
    """

    calibration: str
    psnr_db: float
    worst_psnr_db: float
    mean_levels: float


def measure_calibrations(checkpoint: Path, data: Path, folder: Path) -> list[CalibrationRow]:
    """Quantise a trained generator with each kind of ranges and compare it with torch.

    Args:
        checkpoint: of the generator.
        data: the pairs; ``train/`` gives the ranges, ``val/`` is compared.
        folder: for temporary files.
    """
    from p2p_export.frames import read_calibration, read_inputs
    from p2p_export.graph.int8 import CALIBRATIONS, PROFILES, Quantiser
    from p2p_export.graph.integer_ends import integer_form
    from p2p_export.graph.pixel_generator import PixelGenerator
    from p2p_export.graph.tracing import to_onnx
    from p2p_export.reference import Reference, measure, run_torch
    from p2p_train.training.checkpoint import Checkpoint

    loaded = Checkpoint.load(checkpoint)
    generator, contract = loaded.build_generator(), loaded.contract
    seen, _ = read_calibration(data, loaded.config, contract)
    unseen = read_inputs(data, loaded.config, contract, limit=VALIDATION_FRAMES, part="val")
    reference = Reference(
        contract=contract,
        frames=unseen,
        images=run_torch(PixelGenerator(generator), unseen),
    )
    graph, float_ends = (
        to_onnx(integer_form(generator, seen, uint8_ends=ends), contract) for ends in (True, False)
    )
    tried = [*((name, graph, name) for name in CALIBRATIONS), (FLOAT_ENDS, float_ends, "minmax")]
    rows = []
    for name, content, ranges in tried:
        integers = Quantiser(content, seen, PROFILES["x86"], folder, ranges).quantise([])
        report = measure(integers, reference, "int8", folder).report
        rows.append(
            CalibrationRow(
                calibration=name,
                psnr_db=round(report.psnr_db, 2),
                worst_psnr_db=round(report.worst_psnr_db, 2),
                mean_levels=round(report.mean_levels, 3),
            )
        )
    return rows


@click.command(cls=P2PCommand)
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), default=Path("data"))
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(checkpoint: Path, data: Path, output: Path | None) -> None:
    """Compare ways to calibrate int8 on a trained checkpoint."""
    setup_logging()
    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_json

    with tempfile.TemporaryDirectory() as folder:
        rows = measure_calibrations(checkpoint, data, Path(folder))
    click.echo("| ranges | PSNR to torch | worst frame | mean difference |\n|---|---|---|---|")
    for row in rows:
        click.echo(
            f"| {row.calibration} | {row.psnr_db:.1f} dB | {row.worst_psnr_db:.1f} dB "
            f"| {row.mean_levels:.2f} levels |"
        )
    if output is not None:
        document = {"machine": describe_machine(None), "rows": [asdict(row) for row in rows]}
        write_json(output, document)


if __name__ == "__main__":
    main()
