"""The harness of the studies: shared options, machine facts, result files and smoke runs.

A study is a function that returns its figures as plain JSON values. :func:`study` makes a command
of it, which prints a table and writes ``results/NAME.json``::

    @study("widths", frames_option(60), threads_option(2), table=table)
    def main(*, frames: int, threads: int, smoke: bool) -> Document:
        ...

``--smoke`` measures as little as possible and writes no result: it shows that the study runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, option, setup_logging, stack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "RESULTS",
    "Document",
    "Option",
    "data_option",
    "files_option",
    "float_option",
    "frames_option",
    "input_option",
    "markdown_table",
    "picture_study",
    "rounds_option",
    "segmenter_option",
    "study",
    "threads_option",
    "time_interleaved",
]

Document = dict[str, Any]
Option = Callable[[Callable[..., Any]], Callable[..., Any]]

RESULTS = Path(__file__).parent / "results"
"""Folder of the recorded results."""

SMOKE = {"frames": 2, "rounds": 1, "threads": 1}
"""Values of shared options in a smoke run."""

_FILE = click.Path(path_type=Path)


def study(
    name: str, *options: Option, table: Callable[[Document], str]
) -> Callable[[Callable[..., Document]], click.Command]:
    """Make the command of a study out of a function.

    Args:
        name: of the result file, without suffix.
        options: of the command; their values are passed by keyword, with ``smoke`` beside them.
        table: returns the document as Markdown.

    Returns:
        A decorator. The function's docstring is the command's help.
    """

    def decorate(measure: Callable[..., Document]) -> click.Command:
        def run(*, json_file: Path | None, smoke: bool, **values: Any) -> None:
            setup_logging()
            from p2p_bench.machine import describe_machine
            from p2p_bench.report import write_result

            values = _smoke_values(values) if smoke else values
            machine = describe_machine(values.get("threads"))
            document = {"machine": machine, **measure(smoke=smoke, **values)}
            click.echo(table(document))
            if json_file is None and not smoke:
                json_file = RESULTS / f"{name}.json"
            if json_file is not None:
                write_result(json_file, document)

        json_help = f"Result file.  [default: results/{name}.json, none with --smoke]"
        json_option = _option("--json", "json_file", metavar="FILE", type=_FILE, help=json_help)
        return _command(run, measure, [*options, json_option])

    return decorate


def picture_study(
    *options: Option,
) -> Callable[[Callable[..., NDArray[np.uint8]]], click.Command]:
    """Make a command that writes a picture out of a function that returns (H, W, 3) uint8 BGR."""

    def decorate(draw: Callable[..., NDArray[np.uint8]]) -> click.Command:
        def run(*, output: Path, smoke: bool, **values: Any) -> None:
            setup_logging()
            from p2p_runtime.files import write_picture

            write_picture(output, draw(**(_smoke_values(values) if smoke else values)))
            click.echo(output)

        output = _option("--output", metavar="FILE.png|.jpg", type=_FILE, required=True)
        return _command(run, draw, [*options, output])

    return decorate


def frames_option(default: int) -> Option:
    """Return ``--frames N``, the timed calls or frames."""
    return _number("--frames", default, "Number of frames.")


def rounds_option(default: int) -> Option:
    """Return ``--rounds N``, the interleaved rounds."""
    return _number("--rounds", default, "Number of interleaved rounds.")


def threads_option(default: int) -> Option:
    """Return ``--threads N``, the CPU threads of each model."""
    return _number("--threads", default, "CPU threads of each model.")


def float_option(flag: str, default: float, text: str) -> Option:
    """Return an option for a number above 0."""
    kind = click.FloatRange(min=0, min_open=True)
    return _option(flag, metavar="X", type=kind, default=default, help=text)


def data_option() -> Option:
    """Return ``--data DIR``, a data set of pairs."""
    return input_option("--data", "Data set of pairs.")


def segmenter_option(*, required: bool = True) -> Option:
    """Return ``--segmenter FILE``."""
    return input_option("--segmenter", "Segmenter of p2p-train segmenter.", required=required)


def input_option(flag: str, text: str, *, required: bool = True) -> Option:
    """Return an option for an input file or folder."""
    return _option(flag, metavar="PATH", type=_FILE, required=required, help=text)


def files_option(flag: str, name: str, text: str, *, required: bool = True) -> Option:
    """Return an option for an input file that may be repeated; ``name`` is its keyword."""
    settings = {"metavar": "PATH", "type": _FILE, "multiple": True, "required": required}
    return _option(flag, name, help=text, **settings)


def time_interleaved(
    runs: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int
) -> dict[str, list[float]]:
    """Return the seconds of each run by name; rounds are interleaved, so load affects all alike.

    Args:
        runs: what to time.
        rounds: number of timed rounds.
        warm_up: number of untimed rounds before them.
    """
    from p2p_bench.measure import rotate

    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warm_up + rounds):
        for name in rotate(list(runs), number):
            start_s = time.perf_counter()
            runs[name]()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start_s)
    return seconds


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _smoke_values(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, **{name: few for name, few in SMOKE.items() if name in values}}


def _number(flag: str, default: int, text: str) -> Option:
    kind = click.IntRange(min=1)
    return _option(flag, metavar="N", type=kind, default=default, help=text)


def _option(*names: str, **settings: Any) -> Option:
    return option(*names, group="Study", **settings)


def _command(
    run: Callable[..., None], function: Callable[..., Any], options: list[Option]
) -> click.Command:
    text = "Measure as little as possible, to see that the study runs."
    decorated = stack(*options, _option("--smoke", is_flag=True, help=text))(run)
    return click.command(cls=P2PCommand, help=function.__doc__)(decorated)
