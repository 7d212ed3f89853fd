"""A terminal of its own for a command, and other odd surroundings that users' shells give."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("runtime", "train", "export", "benchmarks")
MODULES = {
    "p2p-run": "p2p_runtime.cli",
    "p2p-train": "p2p_train.cli",
    "p2p-export": "p2p_export.cli",
    "p2p-bench": "p2p_bench.cli",
}
NOBODY = 65534


def words_of(name: str, *arguments: object) -> list[str]:
    """Return what starts a command with this interpreter."""
    code = f"import sys; sys.argv[0] = {name!r}; from {MODULES[name]} import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def surroundings(**more: str) -> dict[str, str]:
    """Return an environment in which the packages are found and few threads are started."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / floor) for floor in FLOORS),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def on_terminal(
    words: Sequence[str], *, folder: Path, columns: int = 80, stdin: bytes | None = None
) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; return the exit code and what was drawn there.

    Stdout is discarded; ``stdin`` comes through a pipe, without it stdin is the terminal.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        words,
        cwd=folder,
        env=surroundings(TERM="xterm"),
        stdin=follower if stdin is None else subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=follower,
    ) as process:
        os.close(follower)
        if stdin is not None:
            assert process.stdin is not None
            process.stdin.write(stdin)
            process.stdin.close()
        drawn = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the last one has closed it
                break
            if not piece:
                break
            drawn += piece
    os.close(leader)
    return process.returncode, drawn.decode()


def shown(drawn: str) -> list[str]:
    """Return each line as it was drawn, also those that another one replaced."""
    return [line.strip() for line in drawn.replace("\r", "\n").split("\n") if line.strip()]


def with_shell(script: str, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command by a line of shell, in which ``"$@"`` stands for it."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *words],
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


AS_NOBODY = """
import importlib, json, os, sys
import click.testing
assert os.getuid() == 65534
for name, *words in json.loads(sys.argv[1]):
    main = importlib.import_module(name).main
    done = click.testing.CliRunner().invoke(main, words)
    print(json.dumps([done.exit_code, done.stderr, repr(done.exception)]))
"""


def as_nobody(runs: Sequence[Sequence[object]], folder: Path) -> list[tuple[int, str, str]]:
    """Run commands one after the other as the user nobody.

    Returns the exit code, stderr and the exception of each; skips the test where this cannot be.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become nobody, by setpriv")
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable]
    if subprocess.run([*become, "-c", "import click"], capture_output=True, check=False).returncode:
        pytest.skip("nobody cannot start this Python")
    lines = json.dumps([[MODULES[str(name)], *map(str, words)] for name, *words in runs])
    done = subprocess.run(
        [*become, "-c", AS_NOBODY, lines],
        cwd=folder,
        env=surroundings(HOME="/nonexistent"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
