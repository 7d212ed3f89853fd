"""Charts of a benchmark, as PNG files; the only module of the benchmarks that draws."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from p2p_runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .report import BenchReport

__all__ = ["COLOURS", "family", "latency_chart", "quality_chart", "save", "scaling_chart"]

COLOURS = {
    "torch": "#888888",
    "torch.compile": "#555555",
    "OpenVINO": "#4477aa",
    "ncnn": "#aa7744",
    "ONNX Runtime": "#228833",
}
"""A colour for each library, so that a row keeps its colour from chart to chart."""

_LINES = {
    "eager": ("#555555", "s"),
    "torch-bf16": ("#999999", "D"),
    "fp32": ("#4477aa", "^"),
    "int8": ("#228833", "o"),
}
_AXIS_TITLES = {
    "size": "frame, height x width (dotted: as the pixels)",
    "ngf": "ngf (dotted: as its square, as the work)",
    "batch": "frames a call (dotted: no gain)",
    "threads": "threads (dotted: half the time on twice as many)",
}

PERFECT_DB = 99.0
"""Where a chart puts an infinite PSNR."""


def latency_chart(report: BenchReport, path: Path) -> None:
    """Draw medians as bars, with whiskers up to the 99th percentile.

    Raises:
        OutputError: it cannot be written.
    """
    rows = sorted(report.timed, key=lambda pair: pair[1].median_ms)
    figure = Figure(figsize=(8, 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    medians = [latency.median_ms for _, latency in rows]
    tails = [max(latency.p99_ms - latency.median_ms, 0.0) for _, latency in rows]
    bars = axes.barh(
        [row.what for row, _ in rows],
        medians,
        xerr=([0.0] * len(tails), tails),
        capsize=3,
        color=[COLOURS.get(family(row.what), "#888888") for row, _ in rows],
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
    axes.set_xlabel("ms a frame: median, whisker to the 99th percentile; x: against torch eager")
    axes.set_title(_title(report), fontsize=10)
    save(figure, path)


def quality_chart(report: BenchReport, path: Path) -> None:
    """Draw each backend's latency against how close its images are to the reference's.

    Raises:
        OutputError: it cannot be written.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    fastest_first = sorted(report.timed, key=lambda pair: pair[1].median_ms)
    for number, (row, latency) in enumerate(fastest_first, start=1):
        if row.psnr_db is None:
            axes.axvline(latency.median_ms, linestyle=":", color=COLOURS["torch"])
            axes.annotate(
                f" {row.what} (the reference)",
                (latency.median_ms, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right",
                fontsize=8,
            )
            continue
        quality = min(row.psnr_db, PERFECT_DB)
        colour = COLOURS.get(family(row.what), "#888888")
        said = f"{number}  {row.what}"
        axes.scatter(latency.median_ms, quality, color=colour, zorder=3, label=said)
        axes.annotate(  # neighbours in speed may agree equally well: one above, one below
            str(number),
            (latency.median_ms, quality),
            xytext=(0, 7 if number % 2 else -15),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    figure.legend(loc="outside right center", fontsize=9, edgecolor="none")
    axes.margins(0.1)
    axes.set_xscale("log")
    axes.grid(which="both", alpha=0.25)
    axes.set_xlabel("ms a frame, median (logarithmic); further left is faster")
    axes.set_ylabel("PSNR to torch eager, dB; higher is closer")
    axes.set_title(_title(report), fontsize=10)
    save(figure, path)


def scaling_chart(axes: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw a panel an axis, both scales logarithmic, with a dotted line of proportional growth.

    Args:
        axes: what :mod:`.scaling` wrote of each: points with their figures.
        path: where to.

    Raises:
        OutputError: it cannot be written.
    """
    figure = Figure(figsize=(11, 3.6 * ((len(axes) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(axes) + 1) // 2, 2, squeeze=False).flat
    for panel, (axis, measured) in zip(panels, axes.items(), strict=False):
        points = measured["points"]
        grown = [float(_growth(axis, point)) for point in points]
        for name in points[0]["median_ms"]:
            colour, marker = _LINES.get(name, ("#888888", "o"))
            medians = [point["median_ms"][name] for point in points]
            panel.plot(grown, medians, marker=marker, color=colour, label=name)
            _guide(panel, axis, grown, medians[0], colour)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(grown, [_tick(axis, point) for point in points])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
        panel.set_xlabel(_AXIS_TITLES[axis])
        panel.set_ylabel("ms a frame, median")
    figure.axes[0].legend(fontsize=8)
    save(figure, path)


def _growth(axis: str, point: Mapping[str, Any]) -> float:
    return float(point["height"] * point["width"] if axis == "size" else point[axis])


def _tick(axis: str, point: Mapping[str, Any]) -> str:
    return f"{point['height']}x{point['width']}" if axis == "size" else str(point[axis])


def _guide(panel: Axes, axis: str, grown: list[float], first_ms: float, colour: str) -> None:
    """Draw what work alone would cost: times pixels, times width squared, over threads."""
    power = {"size": 1, "ngf": 2, "threads": -1, "batch": 0}[axis]
    expected = [first_ms * (value / grown[0]) ** power for value in grown]
    panel.plot(grown, expected, linestyle=":", linewidth=1, color=colour)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG.

    Raises:
        OutputError: it cannot be written.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, png.getvalue())


def family(what: str) -> str:
    """Return the library of a row, from its description."""
    first = what.partition(",")[0]
    return first.removesuffix(" on CUDA").replace("torch eager", "torch")


def _title(report: BenchReport) -> str:
    machine = report.machine
    batch = "" if report.batch == 1 else f", batch {report.batch}"
    width = f"ngf {report.generator['ngf']}, " if "ngf" in report.generator else ""
    return (
        f"{width}{report.width}x{report.height}{batch}, uint8 in host memory to uint8 there\n"
        f"{machine['cpu']}, {machine['threads']} threads"
    )
