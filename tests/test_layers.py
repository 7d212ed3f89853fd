"""The floors of the house: who may import whom."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from commands import finished, python

FLOORS = ("benchmarks", "export", "runtime", "train")
WORKSTATION_ONLY = ("torch", "torchvision", "onnx", "onnxscript", "matplotlib", "PIL", "rich")


def imported_by(*modules: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter holds after some imports."""
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    return set(python(code, *modules).split())


def test_imports_go_down_only():
    """All contracts of import-linter hold, between the packages and inside them."""
    linter = Path(sys.executable).parent / "lint-imports"
    assert ", 0 broken" in finished(linter).stdout


@pytest.mark.parametrize("floor", FLOORS)
def test_floors_are_folders_not_packages(root: Path, floor: str):
    """An __init__.py beside a package would give it two names, which breaks type checking."""
    assert not (root / floor / "__init__.py").exists()


@pytest.mark.parametrize("floor", FLOORS)
def test_packages_are_typed(root: Path, floor: str):
    """Each package says that its types can be relied on."""
    (package,) = (path for path in (root / floor).iterdir() if path.name.startswith("p2p_"))
    assert (package / "py.typed").exists()


def test_importing_packages_imports_nothing_else():
    """The packages' own files stay empty, so that every command starts at once."""
    packages = ("p2p_runtime", "p2p_train", "p2p_export", "p2p_bench")
    assert imported_by(*packages) - set(packages) <= imported_by()


@pytest.mark.parametrize("module", ["cli", "translate.translator", "app.run", "app.doctor"])
def test_the_device_needs_no_workstation(module: str):
    """The runtime runs where torch was never installed."""
    assert imported_by(f"p2p_runtime.{module}").isdisjoint(WORKSTATION_ONLY)


def test_the_check_above_would_notice():
    """A module that needs torch is found out, also when it is imported by another."""
    assert "torch" in imported_by("p2p_train.training.checkpoint")


@pytest.mark.parametrize("package", ["p2p_runtime", "p2p_export", "p2p_bench"])
def test_telemetry_is_off_before_onnxruntime_can_be_loaded(package: str):
    """Importing any package that may load onnxruntime sets the variable that silences it."""
    code = "import os, sys, importlib\nimportlib.import_module(sys.argv[1])\n"
    code += "print(os.environ.get('ORT_DISABLE_TELEMETRY'), 'onnxruntime' in sys.modules)"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    assert python(code, package, env=environment).split() == ["1", "False"]
