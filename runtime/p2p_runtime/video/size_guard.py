"""Frames that change their size on the way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from p2p_runtime.labels.resampling import resize_nearest
from p2p_runtime.labels.yuv import to_bgr

if TYPE_CHECKING:
    from p2p_runtime.labels.yuv import Picture

__all__ = ["SizeGuard"]

_log = logging.getLogger(__name__)


class SizeGuard:
    """Brings every frame to the size of the first one, and says when that begins to matter.

    Streams may change their size. The output cannot; and any rule but the nearest neighbour
    would mix label colours into classes that are not there.
    """

    def __init__(self, name: str, *, width: int, height: int) -> None:
        """Set the size, in pixels, that every frame shall have."""
        self._name, self._size = name, (width, height)
        self._seen = self._size

    def __call__(self, image: Picture, index: int) -> Picture:
        """Return a picture of the first one's size; ``index`` is for the log."""
        size = (image.shape[1], image.shape[0])
        if size != self._seen:
            self._seen = size
            _log.warning("%s: the size changes at frame %d, to %dx%d", self._name, index, *size)
        if size == self._size:
            return image
        width, height = self._size
        return resize_nearest(to_bgr(image), height, width)
