"""Which classes of a palette occur in the training data.

A data set lacks some classes of its palette, and blurred edges between two classes look like them.
The contract names the classes present, and label maps are never preprocessed to any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import Palette

from .decode import ImageGoneError, read_input
from .layouts.images import Pair
from .layouts.index import evenly_spread

__all__ = ["MAX_INPUTS", "ClassCounter", "find_classes_present", "solid_pixels"]

MAX_INPUTS = 1000
"""Maximum number of training inputs that are searched for classes, spread evenly; a class that none
of them holds is hardly learned."""

# A blurred map has pixels of many classes that are not there, but few solid ones: with neighbours
# of their own class only. Of 992 JPEG maps of Cityscapes pairs, the rarest classes (guard rails,
# caravans, tunnels) have over 0.3 % of three or four, and up to 0.2 % of others, which is blur.
SOLID_SHARE = 1e-4
"""Minimum share of the solid pixels of all maps, for classes that are small but frequent."""

SOLID_SHARE_OF_ONE = 3e-3
"""Minimum share of the pixels of one map, for classes that are large but rare."""


class ClassCounter:
    """Counts the classes of label maps, one map after the other.

    In maps of exact colours every pixel counts; in blurred ones only solid neighbourhoods do.
    """

    def __init__(self, palette: Palette) -> None:
        self._palette = palette
        self._found = np.zeros(len(palette.classes), bool)
        self._solid = np.zeros(len(palette.classes), np.int64)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Count the classes of a label map, (H, W, 3) uint8 BGR."""
        ids = self._palette.to_ids(image)  # (H, W)
        if (self._palette.to_colours(ids) == image).all():
            self._found |= self._counts(ids) > 0
            return
        counts = self._counts(ids[solid_pixels(ids, 3)])
        self._found |= counts > SOLID_SHARE_OF_ONE * ids.size
        self._solid += counts

    def present(self) -> tuple[int, ...]:
        """Return the indices of the classes present, ascending; all of them if there are none."""
        found = self._found | (self._solid > SOLID_SHARE * self._solid.sum())
        return tuple(np.flatnonzero(found).tolist()) or tuple(range(len(found)))

    def _counts(self, ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(ids.ravel(), minlength=len(self._found))


def find_classes_present(pairs: Sequence[Pair], palette: Palette) -> tuple[int, ...]:
    """Return the indices of the classes that the inputs of ``pairs`` hold, ascending.

    Raises:
        DatasetError: an input is unreadable.
    """
    counter = ClassCounter(palette)
    for index in evenly_spread(len(pairs), MAX_INPUTS):
        with contextlib.suppress(ImageGoneError):  # training counts those that are missing
            counter.add(read_input(pairs[index].input, palette))
    return counter.present()


def solid_pixels(ids: NDArray[np.uint8], side_px: int) -> NDArray[np.bool_]:
    """Return which pixels of a class map (H, W) are the middle of a square of one class: (H, W)."""
    square = np.ones((side_px, side_px), np.uint8)
    return np.asarray(cv2.erode(ids, square) == cv2.dilate(ids, square))
