"""The numbers in the names of fault tests are explained in docs/faults.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def listed_in(page: str) -> list[str]:
    """Return the numbers of a page's rows."""
    return re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)


@pytest.fixture
def named(root: Path) -> set[str]:
    """Return what stands for the number in the names of the fault tests."""
    sources = (path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py"))
    found = (re.findall(r"^def test_fault_([^_]+)_", text, re.MULTILINE) for text in sources)
    return {number for numbers in found for number in numbers}


def test_every_numbered_fault_has_one_line(root: Path, named: set[str]) -> None:
    """Each test_fault_NN has one row in docs/faults.md, in order, and each row has a test."""
    page = (root / "docs" / "faults.md").read_text(encoding="utf-8")
    assert listed_in(page) == sorted(named, key=int)
