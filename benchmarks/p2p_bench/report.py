"""A benchmark as a table, a chart and JSON, with the machine that it ran on."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from p2p_runtime.console import wrapped
from p2p_runtime.files import write_bytes, write_text

from .measure import Latency

__all__ = ["BenchReport", "Row", "latency_chart", "write_result"]

BENCH_SCHEMA = 3
DIGITS = 4
"""Number of decimals in results."""

COLOURS = {
    "torch.compile": "#555555",
    "OpenVINO": "#4477aa",
    "ONNX Runtime": "#228833",
    "": "#888888",
}
"""Colour of each library, by the start of a backend's description; grey for the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The measurements of one backend, or why there are none.

    ``start_ms`` and ``first_ms`` are those of :class:`.process.StartupTimes`; ``psnr_db`` is of its
    images to the reference's (None for itself), inf if all are equal.
    """

    name: str
    what: str
    latency: Latency | None = None
    unavailable: str | None = None
    size_mib: float | None = None
    start_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mib: float | None = None
    psnr_db: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """The rows of a benchmark and the conditions they were measured under.

    Ratios refer to the first row with a latency. ``batch`` frames of ``height`` and ``width``
    pixels are a call; ``gmac`` are 10^9 multiply-accumulates of one, None if not known.
    """

    rows: tuple[Row, ...]
    height: int
    width: int
    batch: int
    inputs: str
    generator: dict[str, Any]
    gmac: float | None
    machine: dict[str, Any]

    @property
    def timed(self) -> tuple[tuple[Row, Latency], ...]:
        """The rows with a latency, each with it."""
        return tuple((row, row.latency) for row in self.rows if row.latency is not None)

    def to_table(self) -> str:
        """Return the report as lines for a terminal of 80 columns."""
        machine = self.machine
        (_, first), *_ = self.timed
        lines = [
            f"{self.width}x{self.height}, batch {self.batch}, {first.frames} calls per backend "
            f"({self.inputs}), host memory to host memory",
            f"{machine['cpu']}, {machine['threads']} threads, load {machine['load']} at the start",
            f"{'backend':<20}{'median ms':>9}{'p90':>7}{'p99':>7}{'frames/s':>9}{'speed-up':>9}"
            f"{'CPU ms':>7}{'MiB':>6}{'PSNR':>5}",
        ]
        lines += [self._line(row, latency) for row, latency in self.timed]
        absent: dict[str, list[str]] = {}
        for row in self.rows:
            if row.unavailable:
                absent.setdefault(row.name.partition("-")[0], []).append(row.name)
        if absent:
            kinds = [n[0] if len(n) == 1 else f"{len(n)} of {kind}" for kind, n in absent.items()]
            lines.append(f"not measured: {', '.join(kinds)}; -v says why")
        return "\n".join(map(wrapped, lines))

    def _line(self, row: Row, latency: Latency) -> str:
        rss = "" if row.peak_rss_mib is None else f"{row.peak_rss_mib:.0f}"
        psnr = "" if row.psnr_db is None else f"{row.psnr_db:.1f}"
        return (
            f"{row.name:<20}{latency.median_ms:>9.2f}{latency.p90_ms:>7.1f}{latency.p99_ms:>7.1f}"
            f"{latency.frames_per_s * self.batch:>9.1f}{latency.speedup:>8.2f}x"
            f"{latency.cpu_ms:>7.1f}{rss:>6}{psnr:>5}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, rounded; an infinite PSNR is the string ``inf``."""
        document: dict[str, Any] = _rounded({"schema": BENCH_SCHEMA, **asdict(self)})
        return document


def latency_chart(report: BenchReport, path: Path) -> None:
    """Draw the medians as bars with whiskers up to the 99th percentile, or raise an OutputError."""
    from matplotlib.figure import Figure  # of an extra

    rows = sorted(report.timed, key=lambda pair: pair[1].median_ms)
    figure = Figure(figsize=(8, 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    tails = [max(latency.p99_ms - latency.median_ms, 0.0) for _, latency in rows]
    bars = axes.barh(
        [row.what for row, _ in rows],
        [latency.median_ms for _, latency in rows],
        xerr=([0.0] * len(tails), tails),
        capsize=3,
        color=[_colour(row.what) for row, _ in rows],
    )
    longest = max(latency.p99_ms for _, latency in rows)
    for bar, (_, latency) in zip(bars, rows, strict=True):
        axes.annotate(
            f"{latency.median_ms:.1f} ms, {latency.speedup:.2f}x",
            (latency.p99_ms + 0.015 * longest, bar.get_y() + bar.get_height() / 2),
            va="center",
            fontsize=9,
        )
    axes.set_xlim(0, 1.28 * longest)
    axes.invert_yaxis()
    axes.set_xlabel("latency in ms: median, whisker to the 99th percentile; x: speed-up over eager")
    axes.set_title(_title(report), fontsize=10)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, png.getvalue())


def _colour(what: str) -> str:
    return next(colour for start, colour in COLOURS.items() if what.startswith(start))


def _title(report: BenchReport) -> str:
    machine = report.machine
    batch = "" if report.batch == 1 else f", batch {report.batch}"
    width = f"ngf {report.generator['ngf']}, " if "ngf" in report.generator else ""
    return (
        f"{width}{report.width}x{report.height}{batch}, uint8 from and to host memory\n"
        f"{machine['cpu']}, {machine['threads']} threads"
    )


def write_result(path: Path, document: Any) -> None:
    """Write a result as strict JSON, rounded; raise an OutputError if that fails."""
    write_text(path, json.dumps(_rounded(document), indent=2, allow_nan=False) + "\n")


def _rounded(value: Any) -> Any:
    """Round every number in plain JSON values; an infinite one becomes the word ``inf``."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else "inf"
    return value
