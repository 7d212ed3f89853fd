"""The guides as data: their blocks, command lines and links."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

__all__ = [
    "COMMANDS", "GUIDES", "ROOT", "Block", "Line", "anchors_of", "blocks_of", "follow", "lines_of",
    "links_of", "section_of", "typed_lines", "written_files",
]  # fmt: skip

ROOT = Path(__file__).parents[2]
GUIDES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

COMMANDS = {
    "p2p-train": "p2p_train.cli",
    "p2p-export": "p2p_export.cli",
    "p2p-run": "p2p_runtime.cli",
    "p2p-bench": "p2p_bench.cli",
}
"""Commands and the module whose ``main`` each one is."""

SETUP = ("python3 -m venv", ". .venv", "pip install")
"""The environment of the tests is there already."""

TINY = "--image-size 64 --num-downs 4 --ngf 8 --ndf 8 --batch-size 2 --max-steps 2"
"""What training gets besides what stands in a guide; the later of two flags wins."""

FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
SYNOPSIS = re.compile(r"\[-|\.\.\.|…|<\w+>|\|")
"""A line with these shows a form, not something to type."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, empty if it names none, and its text."""

    language: str
    text: str


@dataclass(frozen=True)
class Line:
    """A command line in a guide."""

    text: str
    runnable: bool


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a guide in their order."""
    return [Block(language, body) for language, body in FENCE.findall(text)]


def lines_of(text: str) -> Iterator[Line]:
    """Yield the command lines of a guide: fenced ones as they stand, inline ones as fragments."""
    for block in blocks_of(text):
        if block.language == "python":
            continue
        joined = re.sub(r"\\\n\s*", " ", block.text)
        for line in joined.splitlines():
            for part in re.split(r"&&|;|\s#\s.*$", line.strip().removeprefix("$ ")):
                yield Line(part.strip(), runnable=not SYNOPSIS.search(part))
    for fragment in INLINE.findall(FENCE.sub("", text)):
        yield Line(fragment.strip(), runnable=False)


def links_of(text: str) -> list[str]:
    """Return the targets of a guide's links and pictures."""
    return [a or b for a, b in LINK.findall(FENCE.sub("", text))]


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a guide's headings."""
    headings = HEADING.findall(FENCE.sub("", text))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def section_of(text: str, title: str) -> str:
    """Return the part of a guide under a heading of the second level."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def written_files(text: str) -> dict[str, str]:
    """Return what a guide asks for: Python whose first line is its name, and named JSON."""
    named = {}
    for block in blocks_of(text):
        if block.language == "python":
            named[re.match(r"# (\S+)", block.text)[1]] = block.text
        elif block.language == "json":
            named[f"{json.loads(block.text)['name']}.json"] = block.text
    return named


def typed_lines(text: str) -> list[str]:
    """Return what a guide tells people to type, without the installation."""
    blocks = [block.text for block in blocks_of(text) if block.language == "console"]
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in typed if not line.startswith(SETUP)]


def follow(line: str, folder: Path, exit_code: int = 0) -> str:
    """Run a command of ours, or a script, in a folder and this process, with little training.

    Returns:
        What it said on stdout and stderr.
    """
    name, *words = shlex.split(line)
    if name == "p2p-train" and not {"--inspect", "test"} & {*words}:
        words += TINY.split()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if name == "python":
            runpy.run_path(*words)
            return ""
        main = import_module(COMMANDS[name]).main
        done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == exit_code, f"{line}\n{done.output}"
    return done.output
