"""An alarm for pictures of a single colour.

A generator whose numbers became NaN cannot say so: its output is uint8, and the cast of a NaN is
undefined, in practice black everywhere. What can be seen is that a label map with several colours
became a picture with one. The golden frame finds a model that is broken from the start; this finds
one, or a device, that breaks later.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from p2p_runtime.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BLANK_LIMIT", "BlankAlarm", "is_blank"]

BLANK_LIMIT = 50
"""So many in a row end the run."""

_GLANCE_PX, _EVERY_PX = 64, 8
"""A few pixels tell it of nearly every picture."""

_log = logging.getLogger(__name__)


def is_blank(fitted: NDArray[np.uint8], image: NDArray[np.uint8]) -> bool:
    """Tell whether an image has one colour though its input has several; every 8th px is asked.

    Args:
        fitted, image: (H, W, 3) uint8 BGR, the generator's input and output.
    """
    return _is_flat(image) and not _is_flat(fitted)


class BlankAlarm:
    """Counts blank images; warns of the first, and ends the run when they do not end.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._in_a_row = 0

    def look(self, blank: bool) -> None:
        """Count one image.

        Raises:
            EngineError: it is the last of ``BLANK_LIMIT`` blank ones in a row.
        """
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
    samples = (image[::step, ::step] for step in (_GLANCE_PX, _EVERY_PX))
    return all(bool((sample == image[0, 0]).all()) for sample in samples)
