"""Leaving while a decoder blocks: the exit code tells, and Python does not crash around it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys, threading
from p2p_runtime import cli

def main():
    threading.Thread(target=threading.Event().wait, name={name!r}, daemon=True).start()
    sys.stdout.write("figures")
    sys.exit(143)

cli.main = main
atexit.register(lambda: sys.stdout.write(", taken down"))
cli.program()
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("p2p-uninterruptible", "figures"), ("harmless", "figures, taken down")],
)
def test_fault_78_a_process_does_not_tear_down_around_a_decoder(name: str, expected: str) -> None:
    """With a blocked capture it ends at once, its output written; otherwise as always."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(name=name)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, expected, "")
