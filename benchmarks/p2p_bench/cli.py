"""The command ``p2p-bench``."""

from __future__ import annotations

from p2p_runtime import starting  # noqa: F401  # isort: skip  # first: Ctrl-C is quiet from here

import importlib.util
import logging
from functools import partial
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, option, require_extra, setup_logging

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-bench                               newest export under runs/, against its checkpoint
  p2p-bench --model runs/city-1/export --threads 2 --inputs seg.mp4
  p2p-bench --backends eager,fp32,int8 --frames 200

\b
Every backend takes the same frames from host memory and returns images there.
Each runs in a process of its own, stopped while another one is timed.
Backends that cannot run here are named in one line; -v says why.
"""

_FILE = click.Path(path_type=Path, dir_okay=False)
_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)
_log = logging.getLogger(__name__)

_model = partial(option, group="Model")
_measurement = partial(option, group="Measurement")
_output = partial(option, group="Output", metavar="FILE", type=_FILE)


@click.command(cls=P2PCommand, epilog=EPILOG)
@_model(
    "--model", metavar="FILE|FOLDER", type=_PATH,
    help="A bundle, or a folder of them.  [default: the newest export under runs/]",
)  # fmt: skip
@_model(
    "--checkpoint", metavar="RUN|FILE.pt", type=_PATH,
    help="Checkpoint that torch runs.  [default: the one in the bundles' run]",
)  # fmt: skip
@_measurement(
    "--backends", metavar="NAME,...",
    help="Backends to measure (eager,int8,...) or to leave out (-torch-fp16,...).  [default: all]",
)  # fmt: skip
@_measurement(
    "--inputs", metavar="VIDEO|FOLDER",
    help="Label maps to translate.  [default: those in the checkpoint, otherwise drawn ones]",
)  # fmt: skip
@_measurement("--frames", metavar="N", type=_COUNT, default=50, help="Timed calls per backend.")
@_measurement("--batch", metavar="N", type=click.IntRange(1, 8), default=1, help="Frames per call.")
@_measurement(
    "--threads", metavar="N", type=click.IntRange(1, 512),
    help="CPU threads of each backend.  [default: all cores]",
)  # fmt: skip
@_output("--json", "json_file", default="bench.json", help="Figures as JSON.")
@_output("--plot", "plot_file", default="bench.png", help="Chart of the latencies.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def main(
    *, verbose: bool, json_file: Path, plot_file: Path, backends: str | None, **options: Any
) -> None:
    """Time a generator in torch, in every exported precision and in OpenVINO."""
    setup_logging(verbose)
    require_extra("onnxruntime", "cpu")
    from .report import latency_chart, write_result
    from .run import bench

    names = None if backends is None else tuple(name.strip() for name in backends.split(","))
    report = bench(names=names, **options)
    click.echo(report.to_table())
    write_result(json_file, report.to_json())
    if importlib.util.find_spec("matplotlib") is None:
        _log.info('no chart without matplotlib; type: pip install "pix2pix-edge[train]"')
        return
    latency_chart(report, plot_file)


if __name__ == "__main__":
    main()
