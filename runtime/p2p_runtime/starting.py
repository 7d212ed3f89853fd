"""Imported first by a command: Ctrl-C during its imports ends it without a traceback.

Python would raise KeyboardInterrupt wherever the imports are. The system's own way ends the process
as silently as SIGTERM does. :func:`started` gives SIGINT back to Python.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

__all__ = ["started"]

_PROGRAMS = ("p2p-run", "p2p-train", "p2p-export", "p2p-bench")
_PACKAGES = ("p2p_runtime", "p2p_train", "p2p_export", "p2p_bench")
"""Names of the installed commands, and of what ``python -m`` runs."""


def started() -> None:
    """Let SIGINT raise KeyboardInterrupt again, unless it is ignored or handled otherwise."""
    if _quiet:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_program(path: Path) -> bool:
    return path.name in _PROGRAMS or path.parent.name in _PACKAGES


# A program that only imports the package keeps its own handler.
_quiet = (
    _is_program(Path(sys.argv[0]))
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    and threading.current_thread() is threading.main_thread()
)
if _quiet:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
