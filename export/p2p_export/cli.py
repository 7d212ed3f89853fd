"""``p2p-export``: flags in, one call, a table out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, require_extra, setup_logging

if TYPE_CHECKING:
    from .artefact import Artefact

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-export                              newest run under runs/, its best checkpoint
  p2p-export runs/streets-1 --fp16
  p2p-export runs/streets-1 --int8 --calibration data/streets
  p2p-export last.pt --output model.onnx
  p2p-export --inspect runs/streets-1/export/model-fp32.onnx

\b
What is exported is the generator in eval mode: running statistics, no dropout.
A file appears only after it ran against the torch module on real frames and passed.
"""

_FOLDER = click.Path(path_type=Path)


@click.command(cls=P2PCommand, epilog=EPILOG)
@click.argument("source", metavar="[RUN|CHECKPOINT]", required=False, type=_FOLDER)
@click.option(
    "--output",
    metavar="DIR|FILE.onnx",
    type=_FOLDER,
    help="Where to write.  [default: RUN/export/]",
)
@click.option("--fp16", is_flag=True, help="Also write model-fp16.onnx, for GPUs.")
@click.option("--int8", is_flag=True, help="Also write model-int8.onnx, for CPUs.")
@click.option(
    "--int8-profile",
    type=click.Choice(["x86", "arm", "tensorrt"]),
    default="x86",
    show_default=True,
    help="Whose integer kernels model-int8.onnx is for.",
)
@click.option(
    "--calibration",
    metavar="DIR",
    type=_FOLDER,
    help="Inputs or pairs that int8 takes its ranges from; 100 or more.",
)
@click.option(
    "--frames",
    metavar="DIR",
    type=_FOLDER,
    help="Inputs or pairs for the parity check.  [default: the checkpoint's own]",
)
@click.option("--tensorrt", is_flag=True, help="Also build a TensorRT engine.")
@click.option("--tensorrt-rtx", is_flag=True, help="Also build a TensorRT-RTX engine.")
@click.option("--gpu-arch", metavar="SM", help="GPU that the engine is for, for example 8.6.")
@click.option("--force", is_flag=True, help="Replace files that stand where --output points.")
@click.option(
    "--inspect",
    metavar="MODEL",
    type=_FOLDER,
    help="Show what a bundle is: contract, graph, origin, parity.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def main(inspect: Path | None, verbose: bool, **flags: Any) -> None:
    """Export a trained generator to ONNX, and prove it against torch."""
    setup_logging(verbose)
    require_extra("onnx", "export")
    if inspect is not None:
        from .inspecting import describe

        click.echo(describe(inspect))
        return
    for module, extra in (("torch", "export"), ("onnxscript", "export"), ("onnxruntime", "cpu")):
        require_extra(module, extra)
    from .exporting import ExportRequest, export

    engines = [
        name for name in ("tensorrt", "tensorrt_rtx", "gpu_arch") if flags.pop(name)
    ]  # fmt: skip
    request = ExportRequest(
        engines=tuple(f"--{name.replace('_', '-')}" for name in engines), **flags
    )
    click.echo(_table(export(request)))


def _table(artefacts: list[Artefact]) -> str:
    rows = [
        ("file", "MB", "precision", "max", "mean", "within 1", "PSNR", "worst", "SSIM", "parity")
    ]
    for artefact in artefacts:
        report = artefact.report
        rows.append(
            (
                str(artefact.path),
                f"{artefact.path.stat().st_size / 1e6:.1f}",
                report.precision,
                f"{report.max_levels}",
                f"{report.mean_levels:.4f}",
                f"{report.within_one:.3%}",
                f"{report.psnr_db:.1f} dB",
                f"{report.worst_psnr_db:.1f} dB",
                f"{report.ssim:.4f}",
                f"passed on {report.frames} frames",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
