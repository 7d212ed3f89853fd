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
"""Runs a command with some words."""

P2P_RUN = (sys.executable, "-m", "p2p_runtime.cli")
"""What runs ``p2p-run`` in a process of its own."""


def invoke(main: click.Command, *words: object) -> Result:
    """Run a command with words, which may be paths and numbers; a defect is raised here."""
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def p2p_run(*words: object) -> Result:
    """Type ``p2p-run`` with some words."""
    return invoke(runtime_cli.main, *words)


def p2p_export(*words: object) -> Result:
    """Type ``p2p-export`` with some words."""
    return invoke(export_cli.main, *words)


def p2p_train(*words: object) -> Result:
    """Type ``p2p-train`` with some words; a text may hold several."""
    parts = [word.split() if isinstance(word, str) else [word] for word in words]
    return invoke(train_cli.main, *(word for part in parts for word in part))


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
