"""One size for all frames of a source, even where a stream changes it."""

from __future__ import annotations

import logging

from p2p_runtime.labels.resampling import resize
from p2p_runtime.labels.yuv import Picture, to_bgr

__all__ = ["SizeGuard"]

_log = logging.getLogger(__name__)


class SizeGuard:
    """Resizes every frame to the size of the first one, and logs each change.

    Nearest neighbour is the only rule that mixes no label colours into classes that are not there.
    """

    def __init__(self, name: str, *, width: int, height: int) -> None:
        self._name = name
        self._size = self._seen = (width, height)

    def __call__(self, image: Picture, index: int) -> Picture:
        """Return the picture at the first one's size; ``index`` is for the log."""
        size = (image.shape[1], image.shape[0])
        if size != self._seen:
            self._seen = size
            _log.warning("%s: the size changes at frame %d, to %dx%d", self._name, index, *size)
        if size == self._size:
            return image
        return resize(to_bgr(image), self._size[1], self._size[0])
