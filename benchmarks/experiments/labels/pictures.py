"""The pictures of the label repair study: a chart, and crops before and after."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np

from experiments.labels.recoding import CODINGS, recode
from p2p_train.training.curves import sample_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from p2p_runtime.model.contract import PixelContract

__all__ = ["draw_chart", "draw_crops"]

CROP_PX = 72
ENLARGED = 4
CROPS = 3
CROP_CODING = CODINGS[4]  # H.264, crf 28


def draw_chart(rows: Sequence[tuple[str, float, float]]) -> bytes:
    """Return a PNG with two bars per codec: wrong pixels by nearest colour and after repair.

    Each row has the codec's name and the shares (0-1) of right pixels by either way.
    """
    from matplotlib.figure import Figure

    names, nearest, repaired = zip(*rows, strict=True)
    figure = Figure(figsize=(8, 0.42 * len(names) + 1.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    series = (
        ("nearest colour", -0.2, "#c44e52", nearest),
        ("repaired", 0.2, "#4c72b0", repaired),
    )
    for label, shift, colour, right in series:
        bars = axes.barh(
            places + shift, 100 * (1 - np.array(right)), 0.38, label=label, color=colour
        )
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("pixels of the wrong class, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def draw_crops(truth: NDArray[np.uint8], contract: PixelContract) -> bytes:
    """Return a PNG of the crops with most errors: decoded, nearest colour, repaired, original."""
    assert contract.palette is not None
    middle = len(truth) // 2
    decoded = recode(truth[middle - 1 : middle + 2], CROP_CODING)
    frame, right = decoded.bgr[1], truth[middle]
    nearest, repaired = (
        contract.palette.nearest_colours(frame),
        contract.preprocess(decoded.pictures[1]),
    )
    wrong = (nearest != right).any(axis=-1).astype(np.float32)
    shown = {"decoded": frame, "nearest colour": nearest, "repaired": repaired, "original": right}
    corners = _worst(wrong)
    columns = {
        caption: np.stack([_enlarge(picture[y : y + CROP_PX, x : x + CROP_PX]) for y, x in corners])
        for caption, picture in shown.items()
    }
    _, png = cv2.imencode(".png", sample_grid(columns))
    return png.tobytes()


def _worst(wrong: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the corners of the crops that have most errors and do not overlap."""
    side = min(CROP_PX, *wrong.shape)
    errors = cv2.boxFilter(wrong, -1, (side, side), anchor=(0, 0), normalize=False)
    errors = errors[: wrong.shape[0] - side + 1, : wrong.shape[1] - side + 1].copy()
    corners = []
    for _ in range(CROPS):
        top, left = (int(place) for place in np.unravel_index(errors.argmax(), errors.shape))
        corners.append((top, left))
        errors[max(0, top - side + 1) : top + side, max(0, left - side + 1) : left + side] = -1
    return corners


def _enlarge(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
