"""The pictures of a run: its curves, and grids of input, generated and target images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from p2p_train.losses.base import Curve
from p2p_train.losses.l1 import L1Loss

__all__ = ["MEASURES", "SCORES", "curves_layout", "draw_curves", "sample_grid"]

mpl.use("Agg")
Records = list[dict[str, float]]

_l1 = partial(Curve, panel=L1Loss.curve.panel)
MEASURES = {
    "generator_l1": L1Loss.curve,
    "val_l1": _l1(label="validation"),
    "mean_image_l1": _l1(label="mean photo (no skill)", colour="0.45"),
    "val_psnr_db": Curve(panel="PSNR", label="validation", unit="dB", colour="C1"),
    "val_ssim": Curve(panel="SSIM", label="validation", unit="1 = equal", colour="C1"),
}
"""Curves of every run, by their names in the log."""

_score = partial(Curve, panel="segmentation score", unit="share, 0-1")
SCORES = {
    "val_pixel_accuracy": _score(label="pixel accuracy", colour="C2"),
    "val_class_accuracy": _score(label="class accuracy", colour="C3"),
    "val_mean_iou": _score(label="mean IoU", colour="C4"),
    "photo_mean_iou": _score(label="mean IoU of real photos", colour="C4"),
}
"""Curves of a run with a segmenter that scores it."""

CONSTANTS = ("mean_image_l1", "photo_mean_iou")
"""Names of values that are the same at every epoch; they are drawn as dotted lines."""


GRID_GAP_PX = 4
CAPTION_PX = 28


def draw_curves(records: Records, losses: dict[str, Curve]) -> bytes:
    """Return a PNG with a panel each for L1, PSNR, SSIM and whatever else was logged.

    ``losses`` says where each loss is drawn, by its name in the log.
    """
    panels = _panels(records, losses)
    columns, size_in = curves_layout(records, losses)
    figure = Figure(figsize=size_in)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15)
    places = figure.subplots(2, columns).ravel()
    for curves, axes in zip(panels.values(), places, strict=False):
        _draw_panel(axes, records, curves)
    for empty in places[len(panels) :]:
        empty.remove()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def curves_layout(records: Records, losses: dict[str, Curve]) -> tuple[int, tuple[float, float]]:
    """Return the columns of panels that :func:`draw_curves` draws, and its size in inches."""
    columns = (len(_panels(records, losses)) + 1) // 2
    return columns, (1 + 4.5 * columns, 7.5)


def _panels(records: Records, losses: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    logged = {name for record in records for name in record}
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in {**MEASURES, **losses, **SCORES}.items():
        if name in logged or name in MEASURES:
            panels.setdefault(curve.panel, {})[name] = curve
    return panels


def _draw_panel(axes: Axes, records: Records, curves: dict[str, Curve]) -> None:
    marker = "o" if len(records) <= 20 else ""
    for number, (name, curve) in enumerate(curves.items()):
        known = [record for record in records if name in record]
        if not known:
            continue
        x, y = [record["epoch"] for record in known], [record[name] for record in known]
        colour, label = curve.colour or f"C{number}", f"{curve.label}: {y[-1]:.4g}"
        if name in CONSTANTS:
            axes.axhline(y[-1], ls=":", color=colour, label=label)
        else:
            axes.plot(x, y, color=colour, marker=marker, markersize=4, label=label)
    first = next(iter(curves.values()))
    axes.set(title=first.panel, xlabel="epoch", ylabel=first.unit)
    if not curves.keys() & MEASURES.keys():
        axes.set_ylim(0, 1 if curves.keys() & SCORES.keys() else None)
    axes.set_xlim(0, max(records[-1]["epoch"] * 1.02, 1.02))
    ticks = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(ticks)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(fontsize="small", edgecolor="none", framealpha=0.8)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="0.5")


def sample_grid(columns: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return a picture, (h, w, 3) uint8 BGR, with a row a pair and these columns.

    A column holds pictures of all pairs, (N, H, W, 3) uint8 BGR.
    """
    return np.hstack([_column(caption, images) for caption, images in columns.items()])


def _column(caption: str, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = images.shape[2]
    head = np.full((CAPTION_PX, width, 3), 255, np.uint8)
    font, black = cv2.FONT_HERSHEY_SIMPLEX, (0, 0, 0)
    (caption_px, _), _ = cv2.getTextSize(caption, font, 0.55, 1)
    scale = 0.55 * min(1, (width - 12) / caption_px)  # narrow pictures get smaller letters
    cv2.putText(head, caption, (6, CAPTION_PX - 9), font, scale, black, 1, cv2.LINE_AA)
    gap = np.full((GRID_GAP_PX, width, 3), 255, np.uint8)
    column = np.vstack([head, *(row for image in images for row in (image, gap))])
    side = (GRID_GAP_PX // 2, GRID_GAP_PX // 2)
    return np.pad(column, ((0, 0), side, (0, 0)), constant_values=255)
