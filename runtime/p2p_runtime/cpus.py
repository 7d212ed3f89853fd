"""How many CPUs this process may use: its affinity, and the quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["control_groups", "cpu_quota", "text_of", "usable_cpus"]

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where control groups are mounted, and the file that names the own one."""


def usable_cpus() -> int:
    """Return the number of CPUs that threads of this process can keep busy; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cpus, cpu_quota() or cpus)


def cpu_quota() -> int | None:
    """Return the smallest quota of the own control group and those above it; None without one.

    Quotas are ``cpu.max`` of cgroups version 2 and ``cpu.cfs_quota_us`` of version 1. They are
    rounded up: one and a half CPUs are two threads.
    """
    quota = min(_quotas(), default=None)
    return None if quota is None else math.ceil(quota)


def _quotas() -> Iterator[float]:
    """Yield the CPUs that each group admits on the way from the own one to the root."""
    files = {2: ("cpu.max",), 1: ("cpu.cfs_quota_us", "cpu.cfs_period_us")}
    for version, folder in control_groups("cpu"):
        words = " ".join(text_of(folder / name) for name in files[version]).split()
        if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
            yield int(words[0]) / int(words[1])


def control_groups(controller: str) -> Iterator[tuple[int, Path]]:
    """Yield version, 1 or 2, and possible folder of each group from the own one to the root."""
    for line in text_of(OWN_CGROUP).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        inner = Path(path.lstrip("/"))
        groups = (inner, *inner.parents)  # a container often sees only its own group
        if number == "0":
            yield from ((2, CGROUPS / name / group) for name in ("", "unified") for group in groups)
        elif controller in controllers.split(","):
            names = (controller, controllers)  # the one is often a link to the other
            yield from ((1, CGROUPS / name / group) for name in names for group in groups)


def text_of(path: Path) -> str:
    """Return a file of the system, or nothing if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
