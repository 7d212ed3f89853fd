"""``python -m experiments.figures``: check the figures in README and guides against the results.

``figures.md`` lists every measured figure of every page with its source: a value in a result file,
the ratio or difference of two, or ``limit: ...`` and ``setting: ...`` for figures that are chosen
rather than measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from operator import sub, truediv
from pathlib import Path
from typing import Any

import click

from experiments.harness import RESULTS
from experiments.page import read_result
from p2p_runtime.console import P2PCommand
from p2p_runtime.errors import ConfigError

__all__ = ["Sourced", "figures_in", "main", "problems", "read_sources", "value_of"]

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("figures.md")
GENERATED = ("api.md", "faults.md", "results.md", "settings.md")
"""Pages in docs/ that are not checked."""

FIGURE = re.compile(
    r"(?<![\w.-])\d[\d,.]*(?: (?:ms|MiB|MB|dB|%)(?!\w)| frames (?:a|per) second|x(?!\w))"
    r"|(?<![\w.-])0\.\d{3}(?!\w|\.\d)"
)
"""A number with a unit of measurement, or a score with three decimals."""
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
UNMEASURED = ("limit: ", "setting: ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sourced:
    """A figure on a page.

    Attributes:
        page: path of the page below the repository's root.
        figure: the figure as written there.
        source: what :func:`value_of` takes, or a text that starts with one of :data:`UNMEASURED`.
    """

    page: str
    figure: str
    source: str


def read_sources(text: str) -> list[Sourced]:
    """Return the rows of a Markdown table of page, figure and source."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if ".md | " in line]
    return [Sourced(page=page, figure=figure, source=source) for page, figure, source in lines]


def figures_in(text: str) -> set[str]:
    """Return the figures of a page in Markdown; code does not count."""
    return set(FIGURE.findall(CODE.sub("", text)))


def value_of(source: str, folder: Path = RESULTS) -> float:
    """Return a value of the result files.

    Args:
        source: ``FILE > KEY > ...`` without suffix; in a list, a key is any value of the item
            meant. Two sources may stand with `` / `` or `` - `` between them.
        folder: of the result files.

    Raises:
        ConfigError: there is no such value.
    """
    for sign, operator in ((" / ", truediv), (" - ", sub)):
        if sign in source:
            first, second = (_single(part, folder) for part in source.split(sign))
            return float(operator(first, second))
    return _single(source, folder)


def _single(source: str, folder: Path) -> float:
    name, *keys = source.split(" > ")
    value: Any = read_result(folder / f"{name}.json")
    for key in keys:
        if isinstance(value, list):
            value = {word: item for item in value for word in map(str, item.values())}
        if not isinstance(value, dict) or key not in value:
            raise ConfigError(f"{source}: there is no {key}")
        value = value[key]
    return float(value)


def problems(table: list[Sourced], pages: dict[str, str], folder: Path = RESULTS) -> Iterator[str]:
    """Yield what is wrong between the table, pages (text by path) and results."""
    for page, text in pages.items():
        listed = {one.figure for one in table if one.page == page}
        for figure in sorted(figures_in(text) - listed):
            yield f"{page}: {figure} is not in figures.md"
    for one in table:
        if one.figure not in figures_in(pages.get(one.page, "")):
            yield f"figures.md: {one.figure} is not on {one.page}"
        elif not one.source.startswith(UNMEASURED):
            yield from _disagreement(one, folder)


def _disagreement(one: Sourced, folder: Path) -> Iterator[str]:
    number = re.match(r"[\d.]+", one.figure.replace(",", ""))
    assert number is not None
    decimals = len(number[0].partition(".")[2])
    value = value_of(one.source, folder) * (100 if one.figure.endswith("%") else 1)
    if f"{value:.{decimals}f}" != number[0]:
        yield f"{one.page}: {one.figure}, but {one.source} is {value:.4g}"


def pages_of(root: Path = ROOT) -> dict[str, str]:
    """Return the text of every page that is checked, by its path below ``root``."""
    guides = [path for path in (root / "docs").glob("*.md") if path.name not in GENERATED]
    paths = [root / "README.md", *sorted(guides)]
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths}


@click.command(cls=P2PCommand)
@click.pass_context
def main(ctx: click.Context) -> None:
    """Check the figures in README and guides against the results."""
    table = read_sources(TABLE.read_text(encoding="utf-8"))
    found = list(problems(table, pages_of()))
    click.echo("\n".join(found) or f"{len(table)} figures agree with the results")
    ctx.exit(2 if found else 0)


if __name__ == "__main__":
    main()
