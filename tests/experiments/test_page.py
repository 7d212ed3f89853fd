"""docs/results.md and the figures of the other pages agree with the recorded results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from experiments.figures import (
    TABLE,
    Sourced,
    figures_in,
    pages_of,
    problems,
    read_sources,
    value_of,
)
from experiments.harness import RESULTS
from experiments.page import PAGE, SECTIONS, backends_table, compose
from p2p_bench.report import BenchReport
from p2p_runtime.errors import ConfigError

SOURCED = Sourced(page="README.md", figure="2.5 ms", source="toy > rows > int8 > median_ms")
PAGES = {"README.md": "A frame takes 2.5 ms."}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder with one result file."""
    rows = [{"name": "int8", "median_ms": 2.48}, {"name": "fp32", "median_ms": 10.0}]
    (tmp_path / "toy.json").write_text(json.dumps({"rows": rows, "share": 0.981}))
    return tmp_path


def test_the_page_is_current():
    """After a new measurement, `python -m experiments.page` writes the page again."""
    assert PAGE.read_text(encoding="utf-8") == compose()


def test_every_result_is_on_the_page():
    """A result that no section shows is deleted."""
    shown = {f"{section.name}.json" for section in SECTIONS}
    shown |= {section.picture for section in SECTIONS} | {"label-repair-crop.png"}
    assert {path.name for path in RESULTS.iterdir()} == shown - {""}


def test_a_missing_result_is_named(tmp_path: Path):
    """The error holds the path."""
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "widths.json").unlink()
    with pytest.raises(ConfigError, match=r"widths\.json"):
        compose(tmp_path)


def test_only_known_backends_are_listed(report: BenchReport):
    """Rows of measured backends, the fastest first; an unavailable one has none."""
    *_, first, second, third = backends_table(report.to_json()).splitlines()
    assert [line.split(" | ")[0] for line in (first, second, third)] == [
        "| ONNX Runtime, int8",
        "| ONNX Runtime, fp32",
        "| torch eager, fp32",
    ]


def test_every_figure_in_readme_and_guides_has_a_source():
    """`figures.md` lists them all, and the sources agree."""
    assert list(problems(read_sources(TABLE.read_text(encoding="utf-8")), pages_of())) == []


def test_a_figure_that_agrees_passes(results: Path):
    """A figure agrees to the digits that it has."""
    assert list(problems([SOURCED], PAGES, results)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A frame takes 2.5 ms, not 3.1 ms.", "3.1 ms is not in figures.md"),
        ("A frame takes 2.4 ms.", "2.5 ms is not on README.md"),
    ],
)
def test_an_unlisted_or_stale_figure_is_found(text: str, problem: str, results: Path):
    """Page and table must list the same figures."""
    assert any(problem in found for found in problems([SOURCED], {"README.md": text}, results))


def test_a_figure_that_the_result_does_not_back_is_found(results: Path):
    """The message holds both values."""
    wrong = Sourced(page="README.md", figure="2.6 ms", source=SOURCED.source)
    (found,) = problems([wrong], {"README.md": "2.6 ms"}, results)
    assert found == f"README.md: 2.6 ms, but {SOURCED.source} is 2.48"


def test_sources_can_be_compared(results: Path):
    """Ratios and differences of two values; percentages are shares of one."""
    fast, slow = SOURCED.source, "toy > rows > fp32 > median_ms"
    assert value_of(f"{slow} / {fast}", results) == pytest.approx(4.03, abs=0.01)
    assert value_of(f"{slow} - {fast}", results) == pytest.approx(7.52)
    share = Sourced(page="README.md", figure="98.1 %", source="toy > share")
    assert list(problems([share], {"README.md": "98.1 %"}, results)) == []
    with pytest.raises(ConfigError, match="there is no int4"):
        value_of("toy > rows > int4", results)


def test_code_holds_no_figures():
    """Flags and commands have values, not figures."""
    assert figures_in("`--ema 0.999` and\n```\n$ sleep 3 ms\n```\nbut 0.429.") == {"0.429"}
