"""What decoded frames have in common, from a file or from a network stream."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from p2p_runtime.errors import ContractError, SourceError
from p2p_runtime.labels.yuv import ColorSpec, YuvFrame
from p2p_runtime.video.frames import DEFAULT_FPS

if TYPE_CHECKING:
    from p2p_runtime.labels.palette import Palette
    from p2p_runtime.labels.yuv import Picture

__all__ = ["CONTAINERS", "PixelReader", "believable_count", "believable_fps"]

MAX_FPS = 240.0
MAX_FRAMES = 1 << 31

# Containers that hold their own frames. Playlists (hls, concat) and numbered pictures (image2)
# are left out: they open other files.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,av1,ivf,obu,flv,ogg,asf,gif,"
    "yuv4mpegpipe,nut,mxf"
)

_FORMATS_420 = ("yuv420p", "yuvj420p")

# By number in ITU-T H.273; a video that does not say (2, 0) is taken for BT.601, as FFmpeg does.
_MATRICES = {1: "BT.709", **dict.fromkeys((0, 2, 5, 6), "BT.601")}

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
    """Turns decoded frames into (H, W, 3) uint8 BGR, or leaves them in their planes."""

    def __init__(self, name: str, ids_palette: Palette | None, *, planes: bool = False) -> None:
        """Set it up.

        Args:
            name: what errors call the source.
            ids_palette: paint grey levels as class ids with these colours.
            planes: leave frames in 4:2:0 as they are stored.
        """
        self._name, self._ids_palette, self._planes = name, ids_palette, planes
        self._reformatter = VideoReformatter()  # a frame's own would be set up for each frame

    def __call__(self, decoded: Any) -> Picture:
        """Return the pixels of an ``av.VideoFrame``.

        Raises:
            SourceError: it should hold class ids, and does not.
            MemoryError: there is not enough memory to convert it.
        """
        if self._ids_palette is None:
            if self._planes and (planes := _planes_of(decoded)) is not None:
                return planes
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


def _planes_of(decoded: Any) -> YuvFrame | None:
    """Return an ``av.VideoFrame``'s planes, without a copy; None if it is stored otherwise."""
    if decoded.format.name not in _FORMATS_420 or decoded.colorspace not in _MATRICES:
        return None
    full = decoded.format.name == "yuvj420p" or decoded.color_range == ColorRange.JPEG
    luma, cb, cr = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in decoded.planes
    )
    storage = ColorSpec(_MATRICES[decoded.colorspace], "full" if full else "limited")
    return YuvFrame(luma, cb, cr, storage)


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
