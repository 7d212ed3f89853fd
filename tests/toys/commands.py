"""The commands as users type them: run in this process, or in one of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
from click.testing import CliRunner, Result

from p2p_export import cli as export_cli
from p2p_runtime import cli as runtime_cli
from p2p_train import cli as train_cli

Run = Callable[..., Result]
"""Runs a command with some words, to the exit code that is named, else 0."""

P2P_RUN = (sys.executable, "-m", "p2p_runtime.cli")
"""What runs ``p2p-run`` in a process of its own."""


def invoke(main: click.Command, *words: object) -> Result:
    """Run a command with words, which may be paths and numbers; a defect is raised here."""
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def p2p_run(*words: object, exit_code: int = 0) -> Result:
    """Type ``p2p-run`` with some words; it must end with this exit code."""
    return _ended(invoke(runtime_cli.main, *words), exit_code)


def p2p_export(*words: object, exit_code: int = 0) -> Result:
    """Type ``p2p-export`` with some words; it must end with this exit code."""
    return _ended(invoke(export_cli.main, *words), exit_code)


def p2p_train(*words: object, exit_code: int = 0) -> Result:
    """Type ``p2p-train`` with some words, several in a text; it must end with this exit code."""
    parts = [word.split() if isinstance(word, str) else [word] for word in words]
    return _ended(invoke(train_cli.main, *(word for part in parts for word in part)), exit_code)


def _ended(done: Result, exit_code: int) -> Result:
    assert done.exit_code == exit_code, done.output
    return done


def finished(
    *words: object, exit_code: int = 0, timeout: float = 60, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which must be this one, and return what it said."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **settings,
    )
    assert done.returncode == exit_code, done.stderr
    return done


def python(code: str, *words: object, **settings: Any) -> str:
    """Run a program of Python in a process of its own, and return what it printed."""
    return finished(sys.executable, "-c", code, *words, **settings).stdout
