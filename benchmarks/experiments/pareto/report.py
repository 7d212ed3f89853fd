"""The points as a table and as a chart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .points import Point, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_chart", "table"]

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("parameters, M", "parameters_m", "{:.2f}"),
    ("GMAC", "gmac", "{:.2f}"),
    ("file, MB", "file_mb", "{:.1f}"),
    ("int8, ms", "latency_ms", "{:.1f}"),
    ("pixel accuracy", "pixel_accuracy", "{:.3f}"),
    ("mean IoU", "mean_iou", "{:.3f}"),
    ("SSIM", "ssim", "{:.3f}"),
    ("Frechet", "frechet", "{:.2f}"),
)


def table(points: Sequence[Point], photos: dict[str, float]) -> str:
    """Return a Markdown table, fastest first, with what real photos score in the last row."""
    titles = ["run", "ngf", "teacher", "steps", *(title for title, _, _ in COLUMNS)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for point in sorted(points, key=lambda point: point.latency_ms):
        figures = [form.format(getattr(point, name)) for _, name, form in COLUMNS]
        teacher = "yes" if point.distilled else "no"
        cells = [point.name, str(point.ngf), teacher, str(point.steps), *figures]
        lines.append(f"| {' | '.join(cells)} |")
    ceilings = [form.format(photos[n]) if n in photos else "" for _, n, form in COLUMNS]
    lines.append(f"| {' | '.join(['*real photos*', '', '', '', *ceilings])} |")
    return "\n".join(lines)


def draw_chart(points: Sequence[Point], photos: dict[str, float], machine: str) -> bytes:
    """Return a PNG: mean IoU and SSIM against latency; a line joins the runs worth choosing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    worths = (("mean_iou", "label fidelity: mean IoU"), ("ssim", "SSIM to the photo"))
    for axes, (worth, title) in zip(figure.subplots(1, 2), worths, strict=True):
        _draw_panel(axes, points, worth)
        if worth in photos:
            axes.axhline(photos[worth], ls=":", color="0.45", label="real photos")
        axes.set(title=title, xlabel="int8, ms a frame (median)")
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize="small", edgecolor="none", loc="lower right")
    figure.suptitle(machine, fontsize=10)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


def _draw_panel(axes: Axes, points: Sequence[Point], worth: str) -> None:
    best = front(points, worth)
    axes.plot(
        [p.latency_ms for p in best], [getattr(p, worth) for p in best], color="0.8", zorder=1
    )
    for distilled, words, marker in ((True, "distilled", "o"), (False, "alone", "s")):
        shown = [point for point in points if point.distilled == distilled]
        if shown:
            heights = [getattr(point, worth) for point in shown]
            axes.scatter([p.latency_ms for p in shown], heights, marker=marker, label=words)
    for point in points:
        place = (point.latency_ms, getattr(point, worth))
        axes.annotate(
            f"ngf {point.ngf}", place, xytext=(4, 5), textcoords="offset points", fontsize="small"
        )
    axes.margins(0.12)
