"""What a package index, a citation and a container take from the repository."""

from __future__ import annotations

import os
import re
import runpy
import shutil
from pathlib import Path

import pytest

from commands import finished
from guides import links_of
from p2p_runtime import __version__

HOME = "https://git.example/people/pix2pix-edge"


def filled_in(root: Path, home: str) -> dict[str, dict[str, str]]:
    """Return what the build adds to the metadata, for an address of the repository."""
    hook = runpy.run_path(str(root / "docs" / "package_page.py"))["PackagePage"]
    metadata: dict[str, dict[str, str]] = {}
    hook(str(root), {"home": home}).update(metadata)
    return metadata


def test_pictures_show_on_a_package_index(root: Path):
    """Every link of the README is absolute there, and pictures are raw files."""
    metadata = filled_in(root, HOME)
    links = links_of(metadata["readme"]["text"])
    assert [link for link in links if not link.startswith("https://")] == []
    assert f"{HOME}/raw/HEAD/docs/demo.jpg" in links
    assert f"{HOME}/blob/HEAD/docs/training.md#the-demo-model" in links
    assert metadata["urls"]["Source"] == HOME


def test_without_an_address_there_are_no_urls(root: Path):
    """Nothing is invented: the README stays as it is."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    page = {"content-type": "text/markdown", "text": readme}
    assert filled_in(root, "") == {"readme": page}


@pytest.mark.parametrize("name", ["CITATION.cff", "CHANGELOG.md"])
def test_the_version_is_the_same_everywhere(root: Path, name: str):
    """What is cited, and the newest entry of the changes, are what is installed."""
    text = (root / name).read_text(encoding="utf-8")
    found = re.search(r"^(?:version:|##) (\d\S*)", text, re.MULTILINE)
    assert found is not None
    assert found[1] == __version__


PYTHON = """#!/bin/sh
case "$*" in
    -c*) ;;
    "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *"index versions torch"*) echo "Available versions: $VERSIONS" ;;
    *) echo "$@" >> said.txt ;;
esac
"""
"""An interpreter that makes environments, tells PyTorch's versions, and notes all else."""


@pytest.mark.parametrize(
    ("gpu", "versions", "size", "build"),
    [
        ("", "2.15.0, 2.14.1+cpu, 2.14.1, 2.13.0+cpu", "2 GB", "torch==2.14.1+cpu"),
        ("", "2.15.0, 2.9.1+cpu", "7 GB", None),  # older than what the package takes
        ("/proc/driver/nvidia", "2.15.0, 2.14.1+cpu", "7 GB", None),
        (" PYTORCH=newest", "2.15.0, 2.14.1+cpu", "7 GB", None),
    ],
)
def test_the_set_up_takes_what_the_machine_needs(
    gpu: str, versions: str, size: str, build: str | None, root: Path, tmp_path: Path
):
    """It says how much it installs; without a GPU, the newest CPU build that pip finds."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    words = ["make", "-s", ".venv/.ready", "PYTHON=./python", *f"NVIDIA={gpu}".split()]
    settings = ("MAKEFLAGS", "PYTORCH")  # those of a `make` that runs this test
    env = {key: value for key, value in os.environ.items() if key not in settings}
    env["VERSIONS"] = versions
    done = finished(*words, cwd=tmp_path, env=env)
    assert size in done.stdout.splitlines()[-1]
    assert ("no CPU build" in done.stdout) == (not gpu and build is None)
    installed = (tmp_path / "said.txt").read_text().splitlines()[-1]
    assert ".[cpu,export]" in installed
    assert re.findall(r"torch==\S+", installed) == ([build] if build else [])
