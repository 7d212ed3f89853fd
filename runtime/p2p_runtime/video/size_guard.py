"""One size, within bounds, for all frames of a source, even where a stream changes it."""

from __future__ import annotations

import logging

from p2p_runtime.errors import SourceError
from p2p_runtime.labels.resampling import resize
from p2p_runtime.labels.yuv import Picture, to_bgr
from p2p_runtime.pictures import LARGEST_PIXELS

__all__ = ["SizeGuard", "check_size"]

_log = logging.getLogger(__name__)


def check_size(name: str, width: int, height: int) -> None:
    """Raise a SourceError if frames of a size in pixels are larger than any picture may be."""
    if width * height > LARGEST_PIXELS:
        raise SourceError(
            f"{name}: frames of {width}x{height} pixels are too large; "
            f"{LARGEST_PIXELS // 1_000_000} megapixels are the most"
        )


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
