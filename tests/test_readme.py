"""The guides: every command, flag, make target, module, extra, link and snippet in them works."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest

from guides import COMMANDS, GUIDES, ROOT, Line, anchors_of, blocks_of, lines_of, links_of
from p2p_runtime.files import write_picture
from p2p_train.scenes import draw_scene

FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
MODULE = re.compile(r"python -m ((?:p2p_|experiments)[a-z0-9_.]*)(?![A-Z])")
SHORTER = ("epochs=40", "max_steps=1, image_size=(64, 64)")
"""What a snippet trains, and how little of it the test trains."""
NO_FLAGS_OF_OURS = {"--group", "--nproc-per-node", "--eval"}
"""Flags of pip, torchrun and other projects that the guides name."""


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
        found += [
            f"{line.text}: there is no module {name}"
            for name in MODULE.findall(line.text)
            if find_spec(name) is None
        ]
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
    options = main.get_params(click.Context(main))
    return {flag for option in options for flag in (*option.opts, *option.secondary_opts)}


def _all_flags() -> set[str]:
    commands = [_command(name) for name in COMMANDS]
    groups = [main for main in commands if isinstance(main, click.Group)]
    commands += [part for group in groups for part in group.commands.values()]
    return {flag for command in commands for flag in _flags(command)}


def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def _extras() -> set[str]:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return set(re.findall(r"^([a-z-]+) = \[", section, re.MULTILINE))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_command_and_flag_in_a_guide_exists(guide: Path):
    """Whatever a guide tells people to type is understood."""
    assert problems_in(guide.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(guide: Path):
    """Files, pictures and headings are where a guide says."""
    assert broken_links(guide) == []


def broken_links(guide: Path) -> list[str]:
    """Return the links of a guide to a file or heading that does not exist."""
    broken = []
    for link in links_of(guide.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = guide.parent / name if name else guide
        if not target.exists() or (
            anchor and anchor not in anchors_of(target.read_text(encoding="utf-8"))
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_page_can_be_reached_from_the_index(guide: Path):
    """No page is an orphan: the index links to it."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _index_links(index)}
    outside = {index, *(ROOT / name for name in ("CHANGELOG.md", "ARCHITECTURE.md"))}
    assert guide in outside or guide in linked


def _index_links(index: Path) -> list[str]:
    return links_of(index.read_text(encoding="utf-8"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_python_snippet_runs(guide: Path, workplace: Path, tmp_path: Path, monkeypatch):
    """Snippets run as they stand but shorter, beside a run and a model and with frames at hand.

    Those of the tutorial are files that its own test runs.
    """
    run = workplace / "runs" / "data-1"
    shutil.copytree(run / "checkpoints", tmp_path / "runs" / "streets-1" / "checkpoints")
    model = run / "export" / "model-fp32.onnx"
    for name in ("model-fp32.onnx", "model-int8.onnx"):
        (tmp_path / name).symlink_to(model)
    (tmp_path / "photos").symlink_to(workplace / "data")
    monkeypatch.chdir(tmp_path)
    label_frame, _ = draw_scene(7, 50, 70)
    write_picture(tmp_path / "label.png", label_frame)
    given = {"label_frame": label_frame, "tags": np.ones((50, 70), np.uint8)}
    for block in blocks_of(guide.read_text(encoding="utf-8")):
        if block.language in ("python", "py") and not re.match(r"# \w+\.py\n", block.text):
            exec(block.text.replace(*SHORTER), dict(given))


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
        ("```\np2p-run --labels names --video a\n```", "names"),
        ("Try `p2p-export --fp8`.", "no flag --fp8"),
        ("Try `p2p-train score --clips x`.", "no flag --clips"),
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
