"""The curves of a run as one picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from p2p_train.losses.base import Curve

__all__ = ["draw_curves"]

mpl.use("Agg")
Records = list[dict[str, float]]


def draw_curves(records: Records, losses: dict[str, Curve]) -> bytes:
    """Return a PNG with a panel each for L1, PSNR, SSIM and whatever else was logged.

    Args:
        records: the lines of the log.
        losses: where each loss is drawn, by its name in the log.
    """
    logged = {name for record in records for name in record}
    panels = [_draw_l1, _draw_psnr, _draw_ssim, *_loss_panels(logged, losses)]
    if "val_mean_iou" in logged:
        panels.append(_draw_segmentation)
    columns = (len(panels) + 1) // 2
    figure = Figure(figsize=(1 + 4.5 * columns, 7.5) if columns > 2 else (10, 7.5))
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
    places = figure.subplots(2, columns).ravel()
    for draw, axes in zip(panels, places, strict=False):
        draw(axes, records)
        _finish(axes, records)
    for empty in places[len(panels) :]:
        empty.remove()
    return _figure_png(figure)


def _loss_panels(
    logged: set[str], losses: dict[str, Curve]
) -> list[Callable[[Axes, Records], None]]:
    """Return a panel for each title that a logged loss names; L1 has its panel already."""
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in losses.items():
        if name in logged and name != "generator_l1":
            panels.setdefault(curve.panel, {})[name] = curve
    return [partial(_draw_losses, curves=curves) for curves in panels.values()]


def _draw_losses(axes: Axes, records: Records, *, curves: dict[str, Curve]) -> None:
    first = next(iter(curves.values()))
    _plot(axes, records, {name: curve.label for name, curve in curves.items()})
    axes.set(title=first.panel, ylabel=first.unit)
    axes.set_ylim(bottom=0)


def _draw_l1(axes: Axes, records: Records) -> None:
    _plot(axes, records, {"generator_l1": "training", "val_l1": "validation"})
    _plot(axes, records, {"mean_image_l1": "mean photo (no skill)"}, style=":", colour="0.45")
    axes.set(title="L1 to the photo", ylabel="signal units, [-1, 1]")


def _draw_psnr(axes: Axes, records: Records) -> None:
    _plot(axes, records, {"val_psnr_db": "validation"}, colours_from=1)
    axes.set(title="PSNR", ylabel="dB")


def _draw_ssim(axes: Axes, records: Records) -> None:
    _plot(axes, records, {"val_ssim": "validation"}, colours_from=1)
    axes.set(title="SSIM", ylabel="1 = equal")


def _draw_segmentation(axes: Axes, records: Records) -> None:
    names = {"pixel_accuracy": "pixel accuracy", "class_accuracy": "class accuracy"}
    names["mean_iou"] = "mean IoU"
    _plot(axes, records, {f"val_{name}": label for name, label in names.items()}, colours_from=2)
    _plot(axes, records, {"photo_mean_iou": "mean IoU of real photos"}, style=":", colour="C4")
    axes.set(title="segmentation score", ylabel="share, 0-1")
    axes.set_ylim(0, 1)


def _plot(
    axes: Axes,
    records: Records,
    labels: dict[str, str],
    *,
    style: str = "-",
    colour: str | None = None,
    colours_from: int = 0,
) -> None:
    marker = "o" if len(records) <= 20 and style == "-" else ""
    for number, (key, label) in enumerate(labels.items(), start=colours_from):
        known = [record for record in records if key in record]
        last = f"{label}: {known[-1][key]:.4g}" if known else label
        if style == ":" and known:  # the same at every epoch
            axes.axhline(known[-1][key], ls=style, color=colour, label=last)
        elif known:
            x, y = [r["epoch"] for r in known], [r[key] for r in known]
            axes.plot(x, y, style, color=f"C{number}", marker=marker, markersize=4, label=last)


def _finish(axes: Axes, records: Records) -> None:
    axes.set_xlim(0, max(records[-1]["epoch"] * 1.02, 1.02))
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
    axes.set_xlabel("epoch")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(fontsize="small", edgecolor="none", framealpha=0.8)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.5")


def _figure_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
