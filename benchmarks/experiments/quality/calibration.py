"""``python -m experiments.quality.calibration``: compare ways to calibrate an int8 generator.

One trained generator and one set of calibration inputs; each way of ONNX Runtime to derive ranges
gives an int8 graph, compared with the torch module on validation inputs that no range saw. A last
row has float ends, which shows the cost of the integer ones.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.harness import Document, data_option, input_option, study

__all__ = ["FLOAT_ENDS", "CalibrationRow", "main", "measure_calibrations", "table"]

VALIDATION_FRAMES = 64
FLOAT_ENDS = "minmax, float ends"

CALIBRATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "minmax": ("MinMax", {}),
    "percentile 99.999": ("Percentile", {"percentile": 99.999}),
    "percentile 99.99": ("Percentile", {"percentile": 99.99}),
    "entropy": ("Entropy", {}),
}
"""Methods of ONNX Runtime to derive ranges, each with its options; exports use ``minmax``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """The agreement of an int8 graph with the torch module.

    Attributes:
        calibration: a key of :data:`CALIBRATIONS`, or :data:`FLOAT_ENDS`.
        psnr_db, worst_psnr_db: mean and least PSNR over the validation frames.
        mean_levels: mean absolute difference of a value, in levels of 0-255.
    """

    calibration: str
    psnr_db: float
    worst_psnr_db: float
    mean_levels: float


def measure_calibrations(
    checkpoint: Path, data: Path, folder: Path, *, few: bool = False
) -> list[CalibrationRow]:
    """Quantise a trained generator with each kind of ranges and compare it with torch.

    Args:
        checkpoint: of the generator.
        data: the pairs; ``train/`` gives the ranges, ``val/`` is compared.
        folder: for temporary files.
        few: only one calibration and the float ends.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod

    from p2p_export.graph.int8 import PROFILES, Quantiser
    from p2p_export.graph.integer_ends import integer_form
    from p2p_export.graph.pixel_generator import PixelGenerator
    from p2p_export.graph.tracing import to_onnx
    from p2p_export.inputs import load_checkpoint, read_calibration, read_inputs
    from p2p_export.parity import Reference, measure, run_torch

    trained = load_checkpoint(checkpoint)
    generator, contract = trained.module, trained.contract
    seen, _ = read_calibration(data, trained)
    unseen = read_inputs(data, trained, limit=VALIDATION_FRAMES, part="val")
    reference = Reference(
        contract=contract,
        frames=unseen,
        images=run_torch(PixelGenerator(generator), unseen),
    )
    graph, float_ends = (
        to_onnx(integer_form(generator, seen, uint8_ends=ends), contract) for ends in (True, False)
    )
    names = list(CALIBRATIONS)[: 1 if few else None]
    tried = [*((name, graph, name) for name in names), (FLOAT_ENDS, float_ends, "minmax")]
    rows = []
    for name, content, ranges in tried:
        method, options = CALIBRATIONS[ranges]
        calibrator = {"calibrate_method": CalibrationMethod[method], "extra_options": options}
        quantiser = Quantiser(content, seen, PROFILES["x86"], folder, **calibrator)
        integers = quantiser.quantise([])
        report = measure(integers, reference, "int8", folder).report
        rows.append(
            CalibrationRow(
                calibration=name,
                psnr_db=report.psnr_db,
                worst_psnr_db=report.worst_psnr_db,
                mean_levels=report.mean_levels,
            )
        )
    return rows


def table(document: Document) -> str:
    """Return a row per calibration."""
    from experiments.harness import markdown_table

    rows = [
        [
            row["calibration"],
            f"{row['psnr_db']:.1f} dB",
            f"{row['worst_psnr_db']:.1f} dB",
            f"{row['mean_levels']:.2f} levels",
        ]
        for row in document["rows"]
    ]
    return markdown_table(["ranges", "PSNR to torch", "worst frame", "mean difference"], rows)


@study(
    "calibration",
    input_option("--checkpoint", "Trained checkpoint."),
    data_option(),
    table=table,
)
def main(*, checkpoint: Path, data: Path, smoke: bool) -> Document:
    """Compare ways to calibrate int8 on a trained checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_calibrations(checkpoint, data, Path(folder), few=smoke)
    return {"rows": [asdict(row) for row in rows]}


if __name__ == "__main__":
    main()
