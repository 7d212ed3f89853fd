"""The size and shape of the house: few rooms, few files in each, and not too many lines."""

from __future__ import annotations

from pathlib import Path

import pytest

PACKAGES = (
    "runtime/p2p_runtime",
    "train/p2p_train",
    "export/p2p_export",
    "benchmarks/p2p_bench",
    "benchmarks/experiments",
)
SHIPPED = PACKAGES[:4]
MAX_LINES = 28_980
MAX_ROOMS = 8
MAX_FILES = 14


def rooms(folder: Path) -> list[Path]:
    """Return the sub-packages of a folder."""
    return sorted(path.parent for path in folder.glob("*/__init__.py"))


def test_the_shipped_packages_stay_small(root: Path) -> None:
    """What a user installs has at most MAX_LINES lines of Python."""
    files = [path for package in SHIPPED for path in (root / package).rglob("*.py")]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert len(files) > 100
    assert lines <= MAX_LINES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_newcomer_sees_few_rooms_and_few_files(root: Path, package: str) -> None:
    """A package has at most 8 rooms, and no folder more than 14 files."""
    assert len(rooms(root / package)) <= MAX_ROOMS
    folders = {path.parent for path in (root / package).rglob("*.py")}
    crowded = {
        str(folder.relative_to(root)): count
        for folder in folders
        if (count := len(list(folder.glob("*.py")))) > MAX_FILES
    }
    assert crowded == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_lives_there(root: Path, package: str) -> None:
    """The first line of each room's ``__init__.py`` is a docstring."""
    for room in [root / package, *(path.parent for path in (root / package).rglob("__init__.py"))]:
        assert (room / "__init__.py").read_text(encoding="utf-8").startswith('"""'), room
