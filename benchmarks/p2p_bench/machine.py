"""Describe the machine that figures were measured on, without naming it or its user."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from p2p_runtime.cpus import text_of, usable_cpus

__all__ = ["describe_machine"]

PACKAGES = (
    *("pix2pix-edge", "numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "torch"),
    *("openvino", "tensorrt-cu13"),
)
CPU_FLAGS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_bf16", "amx_int8", "asimd", "asimddp", "i8mm", "bf16", "sve"),
)
"""CPU flags that decide how fast a CPU multiplies."""

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def describe_machine(threads: int | None) -> dict[str, Any]:
    """Return CPU, flags, cores, threads, load, system, package versions and commit as plain JSON.

    Args:
        threads: CPU threads in use; None for all cores.
    """
    cpuinfo = _cpuinfo()
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    return {
        "cpu": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "cores": usable_cpus(),
        "threads": threads or usable_cpus(),
        "governor": text_of(GOVERNOR).strip() or "unknown",  # virtual machines hide it
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
        "commit": _commit(),
    }


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's lines of ``/proc/cpuinfo``."""
    first = text_of(Path("/proc/cpuinfo")).partition("\n\n")[0]
    lines = [line.partition(":") for line in first.splitlines()]
    return {name.strip(): value.strip() for name, _, value in lines}


def _commit() -> str | None:
    """Return the commit of the project's own tree; None where it was installed without one."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
