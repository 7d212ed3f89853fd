"""A terminal of its own for a command, and other odd surroundings that users' shells give."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

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
