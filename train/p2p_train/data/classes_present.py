"""Which classes of a palette the training data holds.

A palette lists every class that could be; a data set lacks some, and blurred edges look like them.
The generator's contract names those that are there, and no other is ever read from a label map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from p2p_runtime.labels.palette import Palette

from .decode import ImageGoneError, read_input
from .layouts import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["count_classes_present", "find_classes_present"]

MOST_INPUTS = 1000
"""Inputs that are read, spread evenly; what none of them holds is hardly learned."""

# A blurred map has pixels of many classes that are not there, but few solid ones: with neighbours
# of their own class only. Of 992 JPEG maps of Cityscapes pairs, the rarest classes (guard rails,
# caravans, tunnels) have over 0.3 % of three or four, and up to 0.2 % of others, which is blur.
SOLID_SHARE = 1e-4
"""Least share of the solid pixels of all maps, for classes that are small but frequent."""

SOLID_SHARE_OF_ONE = 3e-3
"""Least share of the pixels of one map, for classes that are large but rare."""


def find_classes_present(pairs: Sequence[Pair], palette: Palette) -> tuple[int, ...]:
    """Return the indices of the classes that the inputs of ``pairs`` hold, ascending.

    Raises:
        DatasetError: an input is unreadable.
    """
    chosen = np.linspace(0, len(pairs) - 1, min(MOST_INPUTS, len(pairs))).round().astype(int)
    return count_classes_present(_inputs([pairs[index] for index in chosen], palette), palette)


def count_classes_present(inputs: Iterable[NDArray[np.uint8]], palette: Palette) -> tuple[int, ...]:
    """Return the indices of the classes that label maps hold, ascending; at least one.

    In maps of exact colours every pixel counts; in blurred ones only solid neighbourhoods do.

    Args:
        inputs: (H, W, 3) uint8 BGR each.
        palette: the classes and their colours.
    """
    count = len(palette.classes)
    seen, solid = np.zeros(count, bool), np.zeros(count, np.int64)
    for image in inputs:
        ids = palette.to_ids(image)
        if (palette.to_colours(ids) == image).all():
            seen |= np.bincount(ids.ravel(), minlength=count) > 0
            continue
        counts = np.bincount(ids[_solid(ids)], minlength=count)
        seen |= counts > SOLID_SHARE_OF_ONE * ids.size
        solid += counts
    seen |= solid > SOLID_SHARE * solid.sum()
    return tuple(np.flatnonzero(seen).tolist()) or tuple(range(count))


def _inputs(pairs: Sequence[Pair], palette: Palette) -> Iterable[NDArray[np.uint8]]:
    for pair in pairs:
        try:
            yield read_input(pair.input, palette)
        except ImageGoneError:
            continue  # training puts a neighbour in its place, and counts it


def _solid(ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which pixels have neighbours of their own class only: (H, W) in and out."""
    square = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.erode(ids, square) == cv2.dilate(ids, square))
