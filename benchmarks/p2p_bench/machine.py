"""Describe the machine that figures were measured on, without naming it or its user."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
    return {
        "cpu": cpuinfo.get("model name") or platform.processor() or platform.machine(),
        "flags": _relevant(cpuinfo.get("flags") or cpuinfo.get("Features") or ""),
        "cores": os.cpu_count(),
        "threads": threads or os.cpu_count(),
        "governor": _governor(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(PACKAGES),
        "commit": _commit(),
    }


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's lines of ``/proc/cpuinfo``."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    return {name.strip(): value.strip() for name, _, value in lines}


def _relevant(flags: str) -> list[str]:
    return [flag for flag in CPU_FLAGS if flag in flags.split()]


def _governor() -> str:
    try:
        return GOVERNOR.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"  # virtual machines hide it


def _commit() -> str | None:
    """Return the commit of the project's own tree; None where it was installed without one."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # not installed
    return found
