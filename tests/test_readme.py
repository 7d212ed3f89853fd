"""The guides: every command, flag, make target, extra and link in them exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "p2p-train": "p2p_train.cli",
    "p2p-export": "p2p_export.cli",
    "p2p-run": "p2p_runtime.cli",
    "p2p-bench": "p2p_bench.cli",
}
GUIDES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
SYNOPSIS = re.compile(r"\[-|\.\.\.|…|<\w+>|\|")
"""A line with these shows a form, not something to type."""


@dataclass(frozen=True)
class Line:
    """A command line in a guide."""

    text: str
    runnable: bool


def lines_of(text: str) -> Iterator[Line]:
    """Yield the command lines of a guide: fenced ones as they stand, inline ones as fragments."""
    for block in FENCE.findall(text):
        joined = re.sub(r"\\\n\s*", " ", block)
        for line in joined.splitlines():
            for part in re.split(r"&&|;|\s#\s.*$", line.strip().removeprefix("$ ")):
                yield Line(part.strip(), runnable=not SYNOPSIS.search(part))
    for fragment in INLINE.findall(FENCE.sub("", text)):
        yield Line(fragment.strip(), runnable=False)


def problems_in(text: str) -> list[str]:
    """Return what a guide says that is not so."""
    found = []
    for line in lines_of(text):
        first, *rest = line.text.split() or [""]
        if first in COMMANDS:
            found += _command_problems(first, line)
        elif first.startswith("p2p-"):
            found.append(f"{line.text}: there is no command {first}")
        elif first == "make":
            targets = [word for word in rest if "=" not in word and not word.startswith("-")]
            found += [f"{line.text}: no such target" for name in targets if name not in _targets()]
        elif first.startswith("--") and first.partition("=")[0] not in _all_flags():
            found.append(f"{line.text}: no command has this flag")
    extras = re.findall(r"pix2pix-edge\[([\w,-]+)\]|\.\[([\w,-]+)\]", text)
    named = {name for group in extras for listed in group for name in listed.split(",") if name}
    return found + [f"no extra {name}" for name in sorted(named - _extras())]


def _command_problems(name: str, line: Line) -> list[str]:
    main, words = _command(name), line.text.split()[1:]
    if isinstance(main, click.Group) and words and words[0] in main.commands:
        name, main = words[0], main.commands[words[0]]
        words = words[1:]
    unknown = [flag for flag in FLAG.findall(line.text) if flag not in _flags(main)]
    if unknown or not line.runnable:
        return [f"{line.text}: no flag {flag}" for flag in unknown]
    try:  # click reads the line with all its values, and runs nothing
        main.make_context(name, shlex.split(" ".join(words), comments=True))
    except click.exceptions.Exit:
        return []  # --help or --version
    except click.ClickException as error:
        return [f"{line.text}: {error.format_message()}"]
    return []


def _command(name: str) -> click.Command:
    main: click.Command = import_module(COMMANDS[name]).main
    return main


def _flags(main: click.Command) -> set[str]:
    options = {flag for option in main.params for flag in (*option.opts, *option.secondary_opts)}
    return options | {"--help"}


def _all_flags() -> set[str]:
    commands = [_command(name) for name in COMMANDS]
    groups = [main for main in commands if isinstance(main, click.Group)]
    commands += [part for group in groups for part in group.commands.values()]
    return {flag for command in commands for flag in _flags(command)}


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def _extras() -> set[str]:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return set(re.findall(r"^([a-z-]+) = \[", section, re.MULTILINE))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_command_and_flag_in_a_guide_exists(guide: Path):
    """Whatever a guide tells people to type is understood."""
    assert problems_in(guide.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(guide: Path):
    """Pictures and other guides are where a guide says."""
    links = [a or b for a, b in LINK.findall(guide.read_text(encoding="utf-8"))]
    files = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [name for name in files if not (guide.parent / name).exists()] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_can_be_typed(name: str):
    """The examples that --help shows are held to the same."""
    epilog = _command(name).epilog or ""
    shown = [re.split(r"\s{2,}", line.strip())[0] for line in epilog.splitlines()]
    examples = "\n".join(line for line in shown if line.startswith(name))
    assert examples
    assert problems_in(f"```\n{examples}\n```\n") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```\n$ p2p-train --dta x\n```", "no flag --dta"),
        ("```console\n$ cd x && p2p-run \\\n    --video a.mp4 --fast\n```", "no flag --fast"),
        ("```\np2p-train --epochs many\n```", "many"),
        ("```\np2p-run --device tpu --video a\n```", "tpu"),
        ("Try `p2p-export --fp8`.", "no flag --fp8"),
        ("Try `p2p-train judge --epoch 3`.", "no flag --epoch"),
        ("Try `p2p-shine`.", "no command p2p-shine"),
        ("With `--sparkle` it shines.", "no command has this flag"),
        ("```\nmake coffee\n```", "no such target"),
        ('```\npip install "pix2pix-edge[cpu,moon]"\n```', "no extra moon"),
    ],
)
def test_the_checker_notices(text: str, problem: str):
    """Each kind of mistake in a guide is found."""
    (found,) = problems_in(text)
    assert problem in found


@pytest.mark.parametrize(
    "text",
    [
        "```\np2p-train --data pairs --image-size 128x256  # a comment\n```",
        "```\np2p-train [--data DIR] ...\n```",
        "```\n$ make test PYTHON=python3.12\n```",
        "`--video` takes a folder, too; `pip install --group dev` is another matter.",
        "Run `p2p-run --video seg.mp4`.",
    ],
)
def test_the_checker_lets_right_lines_pass(text: str):
    """Comments, forms and other programs' flags are no mistakes."""
    assert problems_in(text) == []
