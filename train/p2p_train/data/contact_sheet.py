"""Contact sheet: captioned columns of pictures, and a legend of classes; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["contact_sheet"]

GAP_PX = 6
CAPTION_PX = 26
LEGEND_PX = 250
LINE_PX = 22
WHITE = 255
ColourBgr = tuple[int, int, int]


def contact_sheet(
    columns: Mapping[str, Sequence[NDArray[np.uint8]]], legend: Mapping[str, ColourBgr]
) -> NDArray[np.uint8]:
    """Lay pictures out in captioned columns with a legend to the right.

    Args:
        columns: pictures of each column by its caption, (H, W, 3) uint8 BGR, all of one size.
        legend: colour of each class by its text, top to bottom; empty for none.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    drawn = [_column(caption, images) for caption, images in columns.items()]
    pictures = np.hstack(drawn)
    if not legend:
        return pictures
    height = max(pictures.shape[0], CAPTION_PX + LINE_PX * len(legend))
    below = ((0, height - pictures.shape[0]), (0, 0), (0, 0))
    return np.hstack([np.pad(pictures, below, constant_values=WHITE), _legend(legend, height)])


def _column(caption: str, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height, width = images[0].shape[:2]
    column = np.full((CAPTION_PX, width + GAP_PX, 3), WHITE, np.uint8)
    _write(column, caption, (GAP_PX, CAPTION_PX - 8))
    rows = [np.pad(i, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=WHITE) for i in images]
    assert all(row.shape == (height + GAP_PX, width + GAP_PX, 3) for row in rows)
    return np.vstack([column, *rows])


def _legend(entries: Mapping[str, ColourBgr], height: int) -> NDArray[np.uint8]:
    canvas = np.full((height, LEGEND_PX, 3), WHITE, np.uint8)
    for line, (text, colour) in enumerate(entries.items()):
        top = CAPTION_PX + line * LINE_PX
        box = (GAP_PX, top), (GAP_PX + LINE_PX - 6, top + LINE_PX - 6)
        cv2.rectangle(canvas, *box, colour, cv2.FILLED)
        cv2.rectangle(canvas, *box, (128, 128, 128), 1)
        _write(canvas, text, (GAP_PX + LINE_PX + 4, top + LINE_PX - 9))
    return canvas


def _write(canvas: NDArray[np.uint8], text: str, origin: tuple[int, int]) -> None:
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
