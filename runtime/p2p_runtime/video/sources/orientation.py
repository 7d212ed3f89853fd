"""How a video wants to be turned: cameras store what the sensor saw, and a matrix beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.yuv import Picture, YuvFrame, to_bgr

__all__ = ["UPRIGHT", "Orientation", "orientation_of"]


@dataclass(frozen=True, slots=True)
class Orientation:
    """A change of rows for columns, then flips.

    Attributes:
        swaps: whether rows become columns.
        mirrors_x, mirrors_y: whether columns, rows are then in reverse order.
    """

    swaps: bool = False
    mirrors_x: bool = False
    mirrors_y: bool = False

    def __call__(self, picture: Picture) -> Picture:
        """Return a picture as it should be seen.

        One in 4:2:0 stays so, unless a side is odd: its blocks would begin elsewhere.
        """
        if self == UPRIGHT:
            return picture
        if not isinstance(picture, YuvFrame):
            return self._orient(picture)
        if picture.shape[0] % 2 or picture.shape[1] % 2:
            return self._orient(to_bgr(picture))
        luma, cb, cr = (self._orient(plane) for plane in (picture.luma, picture.cb, picture.cr))
        return YuvFrame(luma, cb, cr, picture.spec)

    def _orient(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turned: Any = cv2.transpose(plane) if self.swaps else plane
        if self.mirrors_x or self.mirrors_y:
            both = self.mirrors_x and self.mirrors_y
            turned = cv2.flip(turned, -1 if both else int(self.mirrors_x))
        return np.asarray(turned, np.uint8)


UPRIGHT = Orientation()


def orientation_of(decoded: Any) -> Orientation:
    """Return how an ``av.VideoFrame`` wants to be turned, to the nearest right angle."""
    data = decoded.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    # x' = a x + c y, y' = b x + d y, in rows of three numbers (ISO 14496-12, matrix).
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    if abs(a) >= abs(b):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)
