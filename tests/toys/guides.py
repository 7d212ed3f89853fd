"""The guides as data: their blocks, command lines and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GUIDES", "ROOT", "Block", "Line", "anchors_of", "blocks_of", "lines_of", "links_of"]

ROOT = Path(__file__).parents[2]
GUIDES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

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
