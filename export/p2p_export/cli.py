"""``p2p-export``: flags in, one call, a table out."""

from __future__ import annotations

from p2p_runtime import starting  # noqa: F401  # isort: skip  # first: Ctrl-C is quiet from here

import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, Size, option, require_extra, setup_logging, stack

from .importers.options import import_flags, take_import_options

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-export                              newest run under runs/, its best checkpoint
  p2p-export runs/streets-1 --fp16
  p2p-export runs/streets-1 --int8 --calibration data/streets
  p2p-export runs/streets-1 --size 960x544
  p2p-export runs/streets-1 --fp16 --tensorrt-rtx --gpu-arch sm86,sm120
  p2p-export last.pt --output model.onnx
  p2p-export runs/streets-1 --int8 --calibration data/streets --web site
  p2p-export model-int8.onnx --web site   a page that runs this model in a browser
  p2p-export model-fp16.onnx --triton models/street   for the model servers Triton and KServe
  p2p-export --inspect runs/streets-1/export/model-fp32.onnx
  p2p-export --from-pytorch-cyclegan-and-pix2pix latest_net_G.pth --palette none --frames photos

\b
The generator is exported in eval mode: running statistics, no dropout.
A file appears only after it ran against the torch module on real frames and passed.
"""

_PATH = click.Path(path_type=Path)
_checkpoint = partial(option, group="Checkpoint")
_precision = partial(option, group="Precision")
_tensorrt = partial(option, group="TensorRT")
_web = partial(option, group="Web")
_server = partial(option, group="Server")
_run = partial(option, group="Run")

_flags = stack(
    _checkpoint(
        "--size", metavar="WxH", type=Size(square=True),
        help="Size of the model's frames, in steps of the generator's grid.  [default: the "
        "training's]",
    ),
    _checkpoint(
        "--frames", metavar="DIR", type=_PATH,
        help="Inputs or pairs for the parity check.  [default: the checkpoint's own]",
    ),
    _checkpoint(
        "--segmenter", advanced=True, metavar="FILE.pt", type=_PATH,
        help="From p2p-train segmenter: no precision may lose over 0.5 points of segmentation "
        "score.",
    ),
    _precision("--fp16", is_flag=True, help="Also write model-fp16.onnx, for GPUs."),
    _precision("--int8", is_flag=True, help="Also write model-int8.onnx, for CPUs."),
    _precision(
        "--calibration", metavar="DIR", type=_PATH,
        help="Inputs or pairs for the ranges of int8; 100 or more.",
    ),
    _precision(
        "--int8-profile", advanced=True, default="x86",
        type=click.Choice(["x86", "x86-avx2", "arm", "tensorrt"]),
        help="Integer kernels that model-int8.onnx is for; x86-avx2: same pixels without VNNI.",
    ),
    _tensorrt(
        "--tensorrt", is_flag=True,
        help="Also build a TensorRT engine of each file for the GPU of this machine. Not tested on "
        "hardware.",
    ),
    _tensorrt(
        "--tensorrt-rtx", is_flag=True,
        help="Also build TensorRT-RTX engines of each file; needs no GPU. With --int8, both flags "
        "also write model-int8-tensorrt.onnx and build from that, unless --int8-profile is "
        "tensorrt.",
    ),
    _tensorrt(
        "--gpu-arch", metavar="SM[,SM]",
        help="GPU architectures for --tensorrt-rtx, for example sm86,sm89,sm120.",
    ),
    _web(
        "--web", metavar="DIR", type=_PATH,
        help="Also write a page that runs the int8 file, else the fp32 one, in a browser, from any "
        "web server. Of a bundle MODEL.onnx, write the page alone.",
    ),
    _web(
        "--ort-web", metavar="FILE.tgz", type=_PATH,
        help="ONNX Runtime Web for that page, as npm packs it.  [default: npm fetches it]",
    ),
    _server(
        "--triton", metavar="DIR/NAME", type=_PATH,
        help="Also write the fp16 file, else the int8 or fp32 one, as model NAME in the model "
        "repository DIR of a Triton server. Of a bundle MODEL.onnx or an engine, write that alone.",
    ),
    import_flags,
    _run(
        "--output", metavar="DIR|FILE.onnx", type=_PATH,
        help="Where to write.  [default: RUN/export/]",
    ),
    _run(
        "--licence", metavar="TEXT",
        help="Terms of the weights, in a line; p2p-run says them at each start.",
    ),
    _run("--force", is_flag=True, help="Replace existing files at --output."),
    _run(
        "--inspect", metavar="MODEL", type=_PATH,
        help="Print a bundle's contract, graph, origin and parity, and export nothing.",
    ),
    _run("-v", "--verbose", is_flag=True, help="Log details to stderr."),
)  # fmt: skip


@click.command(cls=P2PCommand, epilog=EPILOG)
@click.argument("source", metavar="[RUN|CHECKPOINT|MODEL]", required=False, type=_PATH)
@_flags
def main(inspect: Path | None, verbose: bool, **flags: Any) -> None:
    """Export a trained generator to ONNX, and check it against PyTorch."""
    started_s = time.monotonic()
    setup_logging(verbose)
    require_extra("onnx", "export")
    if inspect is not None:
        from .inspecting import describe

        click.echo(describe(inspect))
        return
    for module, extra in (("torch", "export"), ("onnxscript", "export"), ("onnxruntime", "cpu")):
        require_extra(module, extra)
    source, web, triton = (flags[name] for name in ("source", "web", "triton"))
    if source is not None and source.suffix in (".onnx", ".engine") and (web or triton):
        from .targets.triton import write_triton
        from .targets.web import read_ort_web, write_web

        if web is not None:
            click.echo(_how_to_see(write_web(source, web, read_ort_web(flags["ort_web"]))))
        if triton is not None:
            click.echo(f"{write_triton(source, triton)}: see README.md beside it")
        return
    from p2p_train.devices import peak_memory_mib

    from .exporting import export
    from .inspecting import table
    from .options import ExportOptions

    imported = take_import_options(flags)
    bundles = export(ExportOptions(imported=imported, **flags))
    click.echo(table(bundles))
    if web is not None:
        click.echo(_how_to_see(web / "index.html"))
    if triton is not None:
        click.echo(f"{triton / 'config.pbtxt'}: see README.md beside it")
    click.echo(f"{time.monotonic() - started_s:.0f} s, peak memory {peak_memory_mib():.0f} MiB")


def _how_to_see(page: Path) -> str:
    server = f"python -m http.server --directory {page.parent}"
    return f"{page}: to see it, type {server} and open http://localhost:8000"
