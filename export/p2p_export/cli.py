"""``p2p-export``: flags in, one call, a table out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, require_extra, setup_logging

from .importers.options import import_flags, take_import_options

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-export                              newest run under runs/, its best checkpoint
  p2p-export runs/streets-1 --fp16
  p2p-export runs/streets-1 --int8 --calibration data/streets
  p2p-export runs/streets-1 --fp16 --tensorrt-rtx --gpu-arch sm86,sm120
  p2p-export last.pt --output model.onnx
  p2p-export --inspect runs/streets-1/export/model-fp32.onnx
  p2p-export --from-pytorch-cyclegan-and-pix2pix latest_net_G.pth --palette none --frames photos

\b
What is exported is the generator in eval mode: running statistics, no dropout.
A file appears only after it ran against the torch module on real frames and passed.
"""

ENGINE_FLAGS = ("tensorrt", "tensorrt_rtx", "gpu_arch")
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
    type=click.Choice(["x86", "x86-avx2", "arm", "tensorrt"]),
    default="x86",
    show_default=True,
    help="Whose integer kernels model-int8.onnx is for; x86-avx2: without VNNI.",
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
@click.option(
    "--segmenter",
    metavar="FILE.pt",
    type=_FOLDER,
    help="From p2p-train segmenter: no precision may lose over 0.5 points of segmentation score.",
)
@click.option(
    "--tensorrt",
    is_flag=True,
    help="Also build a TensorRT engine of each file for the GPU here. Not tested on hardware.",
)
@click.option(
    "--tensorrt-rtx",
    is_flag=True,
    help="Also build TensorRT-RTX engines of each file; needs no GPU. With --int8, both flags also "
    "write model-int8-tensorrt.onnx and build that, unless --int8-profile is tensorrt.",
)
@click.option(
    "--gpu-arch",
    metavar="SM[,SM]",
    help="GPUs that TensorRT-RTX builds for, for example sm86,sm89,sm120.",
)
@click.option("--force", is_flag=True, help="Replace files that stand where --output points.")
@click.option(
    "--inspect",
    metavar="MODEL",
    type=_FOLDER,
    help="Show what a bundle is: contract, graph, origin, parity.",
)
@import_flags
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def main(inspect: Path | None, verbose: bool, **flags: Any) -> None:
    """Export a trained generator to ONNX, and prove it against torch."""
    started_s = time.monotonic()
    setup_logging(verbose)
    require_extra("onnx", "export")
    if inspect is not None:
        from .inspecting import describe

        click.echo(describe(inspect))
        return
    for module, extra in (("torch", "export"), ("onnxscript", "export"), ("onnxruntime", "cpu")):
        require_extra(module, extra)
    from p2p_train.devices import peak_memory_mib

    from .exporting import export
    from .inspecting import table
    from .options import ExportOptions
    from .targets.tensorrt import EngineOptions

    imported = take_import_options(flags)
    engines = EngineOptions(**{name: flags.pop(name) for name in ENGINE_FLAGS})
    bundles = export(ExportOptions(imported=imported, engines=engines, **flags))
    click.echo(table(bundles))
    click.echo(f"{time.monotonic() - started_s:.0f} s, peak memory {peak_memory_mib():.0f} MiB")
