"""What the four commands have in common."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from commands import finished

COMMANDS = {
    "p2p-train": "p2p_train.cli",
    "p2p-export": "p2p_export.cli",
    "p2p-run": "p2p_runtime.cli",
    "p2p-bench": "p2p_bench.cli",
}
HEAVY = {
    "PIL", "av", "cv2", "matplotlib", "numpy", "onnx", "onnxruntime", "onnxscript", "rich",
    "scipy", "tensorboard", "torch", "torchvision",
}  # fmt: skip

MODULES_AFTER = """
import importlib, json, sys
try:
    importlib.import_module(sys.argv.pop(1)).main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_after(*arguments: str) -> set[str]:
    """Return what a fresh interpreter has imported when a command has answered."""
    done = finished(sys.executable, "-c", MODULES_AFTER, *arguments)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples(name: str, command, tmp_path: Path):
    """--help exits with 0 and shows how the command is typed."""
    shown = command(name, "--help", folder=tmp_path).stdout
    assert "Examples:" in shown
    assert f"  {name} " in shown.partition("Examples:")[2]


@pytest.mark.parametrize("module", COMMANDS.values())
def test_help_imports_no_heavy_library(module: str):
    """--help answers at once: it loads click, and nothing that computes."""
    loaded = modules_after(module, "--help")
    assert module in loaded
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(HEAVY)
    # Generous: click alone loads about 150 modules more than a bare interpreter.
    assert len(loaded) < 500


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_exits_with_2_and_names_it(name: str, command, tmp_path: Path):
    """A typing error is told apart from a failure."""
    assert "--nonsense" in command(name, "--nonsense", folder=tmp_path, exit_code=2).stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("p2p-train",), "data"),
        (("p2p-export",), "p2p-train"),
        (("p2p-run", "--video", "missing.mp4", "--model", "missing.onnx"), "missing.mp4"),
        (("p2p-bench", "--model", "missing.onnx"), "missing.onnx"),
    ],
)
def test_in_an_empty_folder_every_command_says_what_is_missing(words, hint, command, tmp_path):
    """One line, exit code 2, no traceback, and nothing is left behind."""
    said = command(*words, folder=tmp_path, exit_code=2).stderr.strip().splitlines()
    assert said[-1].startswith("error: ")
    assert hint in said[-1]
    assert not [line for line in said if "Traceback" in line]
    assert not list(tmp_path.iterdir())
