"""The notebook: it runs from top to bottom, goes on after a stop, and shows pictures inline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from guides import ROOT

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
pytestmark = pytest.mark.slow
nbformat = pytest.importorskip("nbformat", reason="the dev group has nbclient and ipykernel")


def outputs_of(notebook: Any) -> list[Any]:
    """Return the outputs of all cells."""
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def said(notebook: Any) -> str:
    """Return what all cells printed."""
    return "".join(one.text for one in outputs_of(notebook) if one.output_type == "stream")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return the notebook after one epoch, and after a fresh kernel has had two."""
    folder, done = tmp_path_factory.mktemp("notebook"), []
    for epochs in (1, 2):
        shutil.copy(NOTEBOOK, folder)
        subprocess.run(
            [
                Path(sys.executable).with_name("jupyter-execute"),
                "--inplace",
                "--allow-errors",
                NOTEBOOK.name,
            ],
            cwd=folder,
            env={**os.environ, "P2P_EPOCHS": str(epochs), "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=500,
        )
        done.append(nbformat.read(folder / NOTEBOOK.name, as_version=4))
    return done


def test_the_notebook_runs_from_top_to_bottom(sessions: list[Any]) -> None:
    """No cell fails, and none writes to stderr, which looks like a failure."""
    for output in map(outputs_of, sessions):
        assert [one for one in output if one.output_type == "error"] == []
        assert [one.text for one in output if one.get("name") == "stderr"] == []


def test_pictures_are_shown_inline(sessions: list[Any]) -> None:
    """The sheet, the samples, the curves and a translated picture."""
    for output in map(outputs_of, sessions):
        assert sum("image/png" in one.get("data", {}) for one in output) == 4


def test_a_second_session_goes_on_with_the_run(sessions: list[Any]) -> None:
    """After a disconnect, all cells again continue at the last step."""
    first, second = map(said, sessions)
    assert "steps 0 to 5" in first
    assert "steps 5 to 10" in second


def test_progress_is_one_line(sessions: list[Any]) -> None:
    """It is drawn again and again in its place, and says where the run ends."""
    lines = [text for text in said(sessions[0]).split("\r") if text.startswith("step ")]
    assert lines[-1].startswith("step 5/5, 0:00:00 left")
    assert max(text.count("\n") for text in lines) == 1


def test_the_notebook_is_kept_without_outputs() -> None:
    """Pictures in git would grow with each change."""
    assert outputs_of(nbformat.read(NOTEBOOK, as_version=4)) == []
