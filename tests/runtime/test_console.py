"""What the four commands share: grouped help, one line per error, missing extras."""

from __future__ import annotations

import io
import logging
import sys
from resource import RLIM_INFINITY

import click
import pytest
from click.testing import CliRunner

from p2p_runtime.console import (
    P2PCommand,
    P2PGroup,
    Size,
    StatusLine,
    option,
    require_extra,
    setup_logging,
    stack,
)
from p2p_runtime.errors import MissingExtraError, OutputError


@click.command(cls=P2PCommand)
@stack(
    option("--lr", group="Optimiser", default=0.1, help="Rate."),
    option("--device", group="Run", default="cpu", help="Where."),
    option("--data", group="Data", default="data", help="Folder."),
    option("--beta1", group="Optimiser", advanced=True, default=0.5, help="Momentum."),
)
@click.version_option("1")
def toy(lr: float, device: str, data: str, beta1: float) -> None:
    """Print the settings."""
    click.echo(f"{lr} {device} {data} {beta1}")


def sections(help_text: str) -> dict[str, list[str]]:
    """Return the options of each section of a help text."""
    found: dict[str, list[str]] = {}
    for line in help_text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            found[line[:-1]] = []
        elif line.startswith("  ") and found:
            found[list(found)[-1]] += [word for word in line.split() if word.startswith("--")]
    return found


def test_help_lists_options_by_section() -> None:
    """Sections keep the order in which the options were given; Run comes last."""
    listed = sections(CliRunner().invoke(toy, ["-h"]).stdout)
    assert list(listed.items()) == [
        ("Optimiser", ["--lr"]),
        ("Data", ["--data"]),
        ("Run", ["--device", "--version", "--help-all", "--help"]),
    ]


def test_help_all_lists_advanced_options_too() -> None:
    """An advanced option works without being asked for, and --help-all lists it."""
    assert CliRunner().invoke(toy, ["--beta1", "0.9"]).stdout == "0.1 cpu data 0.9\n"
    listed = sections(CliRunner().invoke(toy, ["--help-all"]).stdout)
    assert listed["Optimiser"] == ["--lr", "--beta1"]


def test_a_group_lists_its_commands_and_hides_no_option() -> None:
    """A command without advanced options has no --help-all; a group names its commands."""

    @click.group(cls=P2PGroup)
    def group() -> None:
        """Do things."""

    group.add_command(toy)
    result = CliRunner().invoke(group, ["--help"])
    assert list(sections(result.stdout)) == ["Run", "Commands"]
    assert "--help-all" not in result.stdout


def test_sizes_are_width_by_height() -> None:
    """WxH becomes (width, height); a single number needs to be allowed."""
    assert Size().convert("640x360", None, None) == (640, 360)
    assert Size(square=True).convert("256", None, None) == (256, 256)
    for text in ("256", "0x4", "640x", "axb", "640x360x3"):
        with pytest.raises(click.BadParameter, match="write it like 640x360"):
            Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("raised", "exit_code", "line"),
    [
        (OutputError("disk\nfull at rtsp://a:b@c/"), 3, "error: disk full at rtsp://***@c/"),
        (MemoryError(), 1, "error: not enough memory; try a smaller batch or size"),
        (
            RuntimeError("can't start new thread"), 1,
            "error: no more threads can be started; their number is limited by the container",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)  # fmt: skip
def test_errors_become_one_line_and_a_code(
    raised: BaseException, exit_code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library raises is one redacted line on stderr."""

    @click.command(cls=P2PCommand)
    def command() -> None:
        raise raised

    monkeypatch.setattr("resource.getrlimit", lambda limit: (RLIM_INFINITY, RLIM_INFINITY))
    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stderr) == (exit_code, f"{line}\n")


def test_a_missing_extra_names_the_pip_command() -> None:
    """Modules that are not installed are told with what to type."""
    require_extra("click", "cpu")
    with pytest.raises(MissingExtraError, match=r'pip install "pix2pix-edge\[train\]"'):
        require_extra("no_such_module", "train")


@pytest.mark.parametrize("module", ["ipykernel.iostream", "io"])
def test_a_notebook_shows_one_plain_line(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress and logs go to the cell's plain output, not to stderr; in a log file, logs alone."""
    kind = type("OutStream", (io.StringIO,), {"__module__": module})
    streams = {"stdout": kind(), "stderr": kind()}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    setup_logging()
    with StatusLine() as line:
        line.show("step 1/2")
        logging.getLogger("p2p_train").info("hello")
    shown = {name: stream.getvalue() for name, stream in streams.items()}
    if module == "io":
        assert shown == {"stdout": "", "stderr": "hello\n"}
    else:
        assert shown["stderr"] == ""
        assert shown["stdout"].split("\r")[1] == "step 1/2"
        assert "hello\n" in shown["stdout"]
