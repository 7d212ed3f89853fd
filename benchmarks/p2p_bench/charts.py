"""Draw a benchmark as a chart; the only module of ``p2p_bench`` that imports matplotlib."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from p2p_runtime.files import write_bytes

from .report import BenchReport

__all__ = ["latency_chart"]

COLOURS = {
    "torch.compile": "#555555",
    "OpenVINO": "#4477aa",
    "ONNX Runtime": "#228833",
    "": "#888888",
}
"""Colour of each library, by the start of a backend's description; grey for the rest."""


def latency_chart(report: BenchReport, path: Path) -> None:
    """Draw the medians as bars, with whiskers up to the 99th percentile.

    Raises:
        OutputError: the chart cannot be written.
    """
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
