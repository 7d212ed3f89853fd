"""How much memory this process holds."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["anon_rss_mib", "peak_rss_mib"]


def peak_rss_mib() -> float:
    """Return the most memory that was resident so far, in MiB; pages of libraries count."""
    peak = _status_mib("VmHWM")
    if peak is not None:  # Linux's getrusage includes what the parent held when it forked
        return peak
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def anon_rss_mib() -> float | None:
    """Return the resident memory that is no file's, in MiB; None where the system does not tell.

    The rest are mostly pages of libraries, unchanged: processes share them, and the system drops
    them when memory is short. How many of them count as resident is the kernel's choice: Linux
    6.18 maps them by the pieces in which the page cache holds a file, of up to 2 MiB.
    """
    return _status_mib("RssAnon")


def _status_mib(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return None
