"""What decoded frames have in common, from a file or from a network stream."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import VideoReformatter

from p2p_runtime.errors import ContractError, SourceError
from p2p_runtime.frames import DEFAULT_FPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.palette import Palette

__all__ = ["CONTAINERS", "PixelReader", "believable_count", "believable_fps"]

MAX_FPS = 240.0
MAX_FRAMES = 1 << 31

# Containers that hold their own frames. Playlists (hls, concat) and numbered pictures (image2)
# are left out: they open other files.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,av1,ivf,obu,flv,ogg,asf,gif,"
    "yuv4mpegpipe,nut,mxf"
)

# PyAV's conversion to BGR is left at its default (bicubic, without full chroma interpolation).
# Pixels of the CamVid label video (H.264, crf 23; every fifth frame, 21 in all) that are exact
# against its lossless twin:
#   default, bilinear, point or area   1.0 % before, 98.09 % after snapping to the palette
#   bicubic, full chroma, rounding    29.2 % before, 98.04 % after
#   lanczos, full chroma, rounding    29.0 % before, 98.08 % after
#   bilinear, full chroma, rounding   29.2 % before, 97.88 % after
#   point, full chroma, rounding      29.4 % before, 97.67 % after
# OpenCV's own decoder gives 98.08 % after. The full-chroma variants also take several times as
# long; these times were taken on a busy machine, so no figure.

_log = logging.getLogger(__name__)


class PixelReader:
    """Turns decoded frames into (H, W, 3) uint8 BGR."""

    def __init__(self, name: str, ids_palette: Palette | None) -> None:
        """Set it up.

        Args:
            name: what errors call the source.
            ids_palette: paint grey levels as class ids with these colours.
        """
        self._name, self._ids_palette = name, ids_palette
        self._reformatter = VideoReformatter()  # a frame's own would be set up for each frame

    def __call__(self, decoded: Any) -> NDArray[np.uint8]:
        """Return the pixels of an ``av.VideoFrame``.

        Raises:
            SourceError: it should hold class ids, and does not.
            MemoryError: there is not enough memory to convert it.
        """
        if self._ids_palette is None:
            try:
                picture = self._reformatter.reformat(decoded, format="bgr24")
            except BlockingIOError as error:  # FFmpeg's word for "no memory for another thread"
                raise MemoryError from error
            return np.ascontiguousarray(picture.to_ndarray())
        if decoded.format.name != "gray":
            raise SourceError(
                f"{self._name} is {decoded.format.name}, not 8-bit grey: it holds colours, not "
                "class ids; leave --labels ids out"
            )
        try:
            return self._ids_palette.to_colours(np.asarray(decoded.to_ndarray(), np.uint8))
        except ContractError as error:
            raise SourceError(f"{self._name}: {error}") from error


def believable_fps(name: str, rate: Any) -> float:
    """Return frames a second as a source says them, or the default where that is impossible."""
    fps = float(rate or 0)
    if math.isfinite(fps) and 0 < fps <= MAX_FPS:
        return fps
    _log.warning("%s says %g frames a second; taken as %g", name, fps, DEFAULT_FPS)
    return DEFAULT_FPS


def believable_count(count: int) -> int | None:
    """Return how many frames there are as a source says it; None where that is impossible."""
    return count if 0 < count < MAX_FRAMES else None
