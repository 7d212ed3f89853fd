"""The tables in tests/guards name code and tests that exist; tests/guards/run.py breaks each."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(root: Path) -> ModuleType:
    """Return the script that breaks guards."""
    spec = importlib.util.spec_from_file_location("guards_run", root / "tests/guards/run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_fault_151_every_guard_can_be_broken(root: Path, script: ModuleType) -> None:
    """A guard's text occurs exactly once in its file, and differs from what takes its place."""
    guards = script.read_guards()
    assert len(guards) > 100
    assert len({guard.name for guard in guards}) == len(guards)
    for guard in guards:
        text = (root / guard.file).read_text(encoding="utf-8")
        assert text.count(guard.old) == 1, guard.name
        assert guard.old != guard.new, guard.name


def test_fault_151_a_lost_guard_is_noticed(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script breaks a guard of the real code in a copy, and its real test fails there."""
    assert script.main(["133: nesting without end"]) == 0
    assert "noticed  133: nesting without end\n1 of 1" in capsys.readouterr().out


def test_every_guard_names_tests_that_exist(root: Path, script: ModuleType) -> None:
    """The files and functions that a guard names are there."""
    for guard in script.read_guards():
        for test in guard.tests:
            file, _, function = test.partition("::")
            name = function.partition("[")[0] or r"test_\w+"
            text = (root / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{guard.name}: {test}"


def test_a_broken_guard_is_noticed(root: Path, script: ModuleType, tmp_path: Path) -> None:
    """The script tells a test that fails without its guard from one that passes all the same."""
    (tmp_path / "code.py").write_text("def limit() -> int:\n    return 3\n", encoding="utf-8")
    check = "from code_ import limit\ndef test_one():\n    assert limit() == 3\n"
    idle = "def test_two():\n    pass\n"
    (tmp_path / "runtime").mkdir()
    (tmp_path / "code.py").rename(tmp_path / "runtime/code_.py")
    (tmp_path / "test_it.py").write_text(check + idle, encoding="utf-8")

    def broken(test: str) -> bool:
        guard = script.Guard(
            "", "runtime/code_.py", "return 3", "return 4", (f"test_it.py::{test}",)
        )
        return bool(script.survives(guard, tmp_path))

    assert not broken("test_one")
    assert broken("test_two")
    assert "return 3" in (tmp_path / "runtime/code_.py").read_text(encoding="utf-8")
