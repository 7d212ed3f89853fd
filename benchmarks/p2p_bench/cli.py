"""``p2p-bench``: flags in, one table out."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, require_extra, setup_logging

if TYPE_CHECKING:
    from .report import BenchReport

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-bench                               newest export under runs/, against its checkpoint
  p2p-bench --model runs/city-1/export --threads 2
  p2p-bench --backends fp32,int8 --frames 200
  p2p-bench --json bench.json --plot bench.png

\b
Every backend gets the same frames in host memory and gives images back there.
The backends take turns, so that whatever else the machine does hits all alike.
"""

_FILE = click.Path(path_type=Path, dir_okay=False)
_PATH = click.Path(path_type=Path)
_log = logging.getLogger(__name__)


@click.command(cls=P2PCommand, epilog=EPILOG)
@click.option(
    "--model",
    metavar="FILE|FOLDER",
    type=_PATH,
    help="A bundle, or a folder of them.  [default: the newest export under runs/]",
)
@click.option(
    "--checkpoint",
    metavar="RUN|FILE.pt",
    type=_PATH,
    help="What torch runs.  [default: the one in the bundles' run]",
)
@click.option(
    "--backends",
    metavar="NAME,...",
    help="Among eager, fp32, fp16, int8.  [default: all that are there]",
)
@click.option(
    "--frames",
    metavar="N",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Timed frames a backend.",
)
@click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    help="CPU threads of each backend.  [default: all cores]",
)
@click.option(
    "--json", "json_file", metavar="FILE", type=_FILE, default="bench.json", show_default=True
)
@click.option(
    "--plot", "plot_file", metavar="FILE", type=_FILE, default="bench.png", show_default=True
)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def main(*, verbose: bool, json_file: Path, plot_file: Path, **flags: Any) -> None:
    """Time a generator in torch and in every exported precision, on the same frames."""
    setup_logging(verbose)
    require_extra("onnxruntime", "cpu")
    report = _bench(**flags)
    click.echo(report.to_table())
    report.save_json(json_file)
    if importlib.util.find_spec("matplotlib") is None:
        _log.info('no chart: for one, type: pip install "pix2pix-edge[train]"')
    else:
        report.save_chart(plot_file)


def _bench(
    model: Path | None,
    checkpoint: Path | None,
    backends: str | None,
    frames: int,
    threads: int | None,
) -> BenchReport:
    from .backends import open_backends
    from .measure import make_frames, measure
    from .report import BenchReport, describe_machine

    machine = describe_machine(threads)
    names = None if backends is None else [name.strip() for name in backends.split(",")]
    opened = open_backends(model, checkpoint, names, threads)
    contract, inputs = opened[0].contract, opened[0].inputs
    engines = {backend.name: backend.engine for backend in opened}
    return BenchReport(
        rows=tuple(measure(engines, make_frames(contract, inputs, frames))),
        inputs="drawn inputs" if inputs is None else "validation inputs",
        height=contract.height,
        width=contract.width,
        machine=machine,
    )


if __name__ == "__main__":
    main()
