"""How many CPUs this process may use: its affinity, and the quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["cpu_quota", "usable_cpus"]

_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_V1_FOLDERS = ("cpu", "cpu,cpuacct")


def usable_cpus(root: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Return the number of CPUs that threads of this process can keep busy; at least 1.

    Args:
        root, own: see :func:`cpu_quota`.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cpus, cpu_quota(root, own) or cpus)


def cpu_quota(root: Path = _CGROUPS, own: Path = _OWN) -> int | None:
    """Return the smallest quota of the own control group and those above it; None without one.

    Quotas are ``cpu.max`` of cgroups version 2 and ``cpu.cfs_quota_us`` of version 1. They are
    rounded up: one and a half CPUs are two threads.

    Args:
        root, own: where the groups are mounted, and the file that names the own one.
    """
    quota = min(_quotas(root, own), default=None)
    return None if quota is None else math.ceil(quota)


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield the CPUs that each group admits on the way from the own one to the root."""
    for line in _text(own).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            folders, names = [root, root / "unified"], ["cpu.max"]
        elif "cpu" in controllers.split(","):
            folders = [root / name for name in _V1_FOLDERS]
            names = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        inner = Path(path.lstrip("/"))
        for folder in folders:
            for group in (inner, *inner.parents):  # a container often sees only its own group
                words = " ".join(_text(folder / group / name) for name in names).split()
                if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
                    yield int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
