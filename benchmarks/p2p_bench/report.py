"""A benchmark as a table, as JSON, and as a chart, always with the machine that it ran on."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_runtime.files import write_bytes, write_text

if TYPE_CHECKING:
    from .measure import Row

__all__ = ["BENCH_SCHEMA", "BenchReport", "describe_machine"]

BENCH_SCHEMA = 1
PACKAGES = ("pix2pix-edge", "numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "torch")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """What was measured, and on what.

    Attributes:
        rows: one a backend; the first is what the speed-ups refer to.
        height, width: the frames' size in pixels.
        inputs: where the frames come from.
        machine: see :func:`describe_machine`.
    """

    rows: tuple[Row, ...]
    height: int
    width: int
    inputs: str
    machine: dict[str, Any]

    def to_table(self) -> str:
        """Return the report as a few lines for people."""
        machine = self.machine
        lines = [
            f"{self.width}x{self.height}, batch 1, {self.rows[0].frames} frames a backend "
            f"({self.inputs}), host memory to host memory",
            f"{machine['cpu']}, {machine['threads']} threads, load {machine['load']} at the start",
            f"{'backend':<10}{'median ms':>11}{'p95 ms':>10}{'frames/s':>10}{'speed-up':>10}"
            f"{'PSNR dB':>10}",
        ]
        lines += [
            f"{row.name:<10}{row.median_ms:>11.2f}{row.p95_ms:>10.2f}{row.frames_per_s:>10.1f}"
            f"{row.speedup:>9.2f}x{row.psnr_db:>10.1f}"
            for row in self.rows
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; an infinite PSNR becomes null."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            row["psnr_db"] = row["psnr_db"] if math.isfinite(row["psnr_db"]) else None
        return {
            "schema": BENCH_SCHEMA,
            "height": self.height,
            "width": self.width,
            "inputs": self.inputs,
            "machine": self.machine,
            "rows": rows,
        }

    def save_json(self, path: Path) -> None:
        """Write the report as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")

    def save_chart(self, path: Path) -> None:
        """Draw medians as bars, with whiskers up to the 95th percentile, as a PNG.

        Raises:
            OutputError: it cannot be written.
        """
        import io

        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 1.6 + 0.5 * len(self.rows)), layout="constrained")
        axes = figure.subplots()
        names = [row.name for row in self.rows]
        medians = [row.median_ms for row in self.rows]
        tails = [max(row.p95_ms - row.median_ms, 0.0) for row in self.rows]
        bars = axes.barh(names, medians, xerr=([0.0] * len(tails), tails), capsize=3)
        labels = [f" {row.median_ms:.1f} ms, {row.speedup:.2f}x" for row in self.rows]
        axes.bar_label(bars, labels, label_type="center")
        axes.invert_yaxis()
        axes.set_xlabel("ms a frame: median, whisker to the 95th percentile")
        machine = f"{self.machine['cpu']}, {self.machine['threads']} threads"
        axes.set_title(f"{self.width}x{self.height}, batch 1\n{machine}", fontsize=10)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=120)
        write_bytes(path, png.getvalue())


def describe_machine(threads: int | None) -> dict[str, Any]:
    """Say what the figures were measured on, without naming the machine or its user.

    Args:
        threads: CPU threads that were asked for; None for all cores.
    """
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads or os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(PACKAGES),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # not installed, so it took no part
    return found
