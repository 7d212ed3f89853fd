"""The size of frames: mended where a source changes it, required where a sink is written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.errors import SinkError
from p2p_runtime.labels.resampling import resize_nearest
from p2p_runtime.labels.yuv import to_bgr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.labels.yuv import Picture

__all__ = ["SizeGuard", "require_shape"]

_log = logging.getLogger(__name__)


class SizeGuard:
    """Resizes every frame to the size of the first one, and logs each change.

    Streams may change their size, outputs cannot. Nearest neighbour is the only rule that mixes no
    label colours into classes that are not there.

    Args:
        name: the source's name in logs.
        width, height: size of every frame, in pixels.
    """

    def __init__(self, name: str, *, width: int, height: int) -> None:
        self._name, self._size = name, (width, height)
        self._seen = self._size

    def __call__(self, image: Picture, index: int) -> Picture:
        """Return the picture at the first one's size; ``index`` is for the log."""
        size = (image.shape[1], image.shape[0])
        if size != self._seen:
            self._seen = size
            _log.warning("%s: the size changes at frame %d, to %dx%d", self._name, index, *size)
        if size == self._size:
            return image
        width, height = self._size
        return resize_nearest(to_bgr(image), height, width)


def require_shape(image: NDArray[np.uint8], shape: tuple[int, int, int], name: str) -> None:
    """Make sure that an image is uint8 and has the shape (H, W, 3) of a sink's frames.

    Raises:
        SinkError: it is not; the message begins with the sink's ``name``.
    """
    if image.shape != shape or image.dtype != np.uint8:
        raise SinkError(
            f"{name} takes frames of {shape} uint8, this one is {image.shape} {image.dtype}"
        )
