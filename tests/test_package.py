"""What a package index, a citation and a container take from the repository."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

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
