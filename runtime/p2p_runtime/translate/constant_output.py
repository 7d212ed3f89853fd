"""An alarm for images of a single colour, because a generator cannot report NaN in uint8.

In practice such images are black. The golden frame detects a model that is broken from the start;
this detects one, or a device, that breaks later.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import EngineError

__all__ = ["BLANK_LIMIT", "BlankAlarm", "is_blank"]

BLANK_LIMIT = 50
"""Number of blank images in a row that ends the run."""

_COARSE_PX, _FINE_PX = 64, 8
"""Distances in pixels of the samples; the coarse ones decide nearly every image."""

_log = logging.getLogger(__name__)


def is_blank(pixels: NDArray[np.uint8], image: NDArray[np.uint8]) -> bool:
    """Tell by every 8th pixel whether an image has one colour although its input has several.

    Both are (H, W, 3) uint8 BGR.
    """
    return _is_flat(image) and not _is_flat(pixels)


class BlankAlarm:
    """Counts blank images, warns of the first one, and ends a run of nothing else."""

    def __init__(self) -> None:
        self.count = 0
        self._in_a_row = 0

    def add(self, blank: bool) -> None:
        """Count an image; raise an EngineError after ``BLANK_LIMIT`` blank ones in a row."""
        self._in_a_row = self._in_a_row + 1 if blank else 0
        self.count += blank
        if blank and self.count == 1:
            _log.warning("an image has a single colour; its input has several")
        if self._in_a_row == BLANK_LIMIT:
            raise EngineError(
                f"{BLANK_LIMIT} images in a row have a single colour: the model or the device "
                "computes NaN; try another precision or device"
            )


def _is_flat(image: NDArray[np.uint8]) -> bool:
    samples = (image[::step, ::step] for step in (_COARSE_PX, _FINE_PX))
    return all(bool((sample == image[0, 0]).all()) for sample in samples)
