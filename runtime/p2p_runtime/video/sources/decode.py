"""From decoded frames to pictures, for files and network streams alike."""

from __future__ import annotations

import functools
import logging
import math
from typing import Any

import av
import numpy as np
from av.container import Container, InputContainer
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.labels.yuv import ColorSpec, Picture, YuvFrame
from p2p_runtime.video.frames import DEFAULT_FPS

from .orientation import Orientation, orientation_of

__all__ = [
    "CONTAINERS", "PixelReader", "believable_count", "believable_fps", "open_container",
]  # fmt: skip

MAX_FPS = 240.0
MAX_FRAMES = 1 << 31
"""Largest frame rate and frame count that a source is believed."""

# Containers that hold their own frames. Playlists (hls, concat) and numbered pictures (image2)
# are left out: they open other files.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,av1,ivf,obu,flv,ogg,asf,gif,"
    "yuv4mpegpipe,nut,mxf"
)

_FORMATS_420 = ("yuv420p", "yuvj420p")
_GREY = ("gray", "gray16le", "gray16be")

# By number in ITU-T H.273; an unspecified one (2, 0) means BT.601, as in FFmpeg.
_MATRICES = {1: "BT.709", **dict.fromkeys((0, 2, 5, 6), "BT.601")}

# PyAV's conversion to BGR keeps its default (bicubic, without full chroma interpolation). Of the
# CamVid label video (H.264, crf 23), 98.09 % of the pixels are then exact as nearest palette
# colours; full chroma interpolation gives 97.67 to 98.08 % and takes several times as long.

_log = logging.getLogger(__name__)


def open_container(
    name: str, options: dict[str, str], *, timeout_s: float | None = None
) -> InputContainer:
    """Open a video for reading, also if its metadata are not UTF-8.

    Up to version 18, PyAV takes an argument for such metadata and refuses them without it; later
    ones always accept them.

    Args:
        name: an absolute path, or a URL.
        options: FFmpeg's options for the container.
        timeout_s: seconds that connecting, and later each read, may take; None is without end.

    Raises:
        av.error.FFmpegError, OSError, ValueError: it cannot be opened.
    """
    lenient: dict[str, Any] = {}
    if hasattr(Container, "metadata_errors"):
        lenient["metadata_errors"] = "replace"
    # Not `options`, which are for the streams, too: PyAV up to 17.0 then frees one dictionary a
    # stream, but has allocated none for streams found while probing, and crashes (MPEG-TS in RTSP).
    container: InputContainer = av.open(
        name, container_options=options, timeout=timeout_s, **lenient
    )
    return container


class PixelReader:
    """Turns decoded frames into pictures: (H, W, 3) uint8 BGR, or 4:2:0 as they are stored.

    Args:
        name: the source's name in errors.
        labels: reads class ids; None for a model without a palette.
        yuv: leave frames in 4:2:0 as they are.
    """

    def __init__(self, name: str, labels: LabelReader | None, *, yuv: bool = False) -> None:
        self._name, self._labels, self._yuv = name, labels, yuv
        self._orientation: Orientation | None = None
        self._reformatter = VideoReformatter()  # a frame's own would be set up for each frame

    def __call__(self, decoded: Any) -> Picture:
        """Return the picture of an ``av.VideoFrame``, turned as it should be seen.

        A SourceError is raised as by :class:`LabelReader`, a MemoryError if there is no memory.
        """
        if self._orientation is None or decoded.key_frame:
            self._orientation = orientation_of(decoded)
        return self._orientation(self._read(decoded))

    def _read(self, decoded: Any) -> Picture:
        labels = self._labels
        if labels is None or (labels.decided and not labels.wants_ids):
            return self._colours(decoded)
        stored = self._exact(decoded, indices=labels.wants_ids)
        if stored is not None and (painted := labels(stored, self._name)) is not None:
            return painted
        picture = self._colours(decoded)
        if stored is None:
            labels.check_lossy(picture, self._name)
        return picture

    def _colours(self, decoded: Any) -> Picture:
        if self._yuv and (stored := _yuv_frame(decoded)) is not None:
            return stored
        return self._bgr(decoded)

    def _bgr(self, decoded: Any) -> NDArray[np.uint8]:
        try:
            picture = self._reformatter.reformat(decoded, format="bgr24")
        except BlockingIOError as error:  # FFmpeg's word for "no memory for another thread"
            raise MemoryError from error
        return np.ascontiguousarray(picture.to_ndarray())

    def _exact(self, decoded: Any, *, indices: bool) -> NDArray[Any] | None:
        """Return levels as they are stored, of palette formats the ``indices``; None for YUV."""
        name = decoded.format.name
        if name in _GREY:
            return np.asarray(decoded.to_ndarray())
        if name == "pal8" and indices:
            return np.asarray(decoded.to_ndarray()[0])
        return self._bgr(decoded) if decoded.format.is_rgb or name == "pal8" else None


def _yuv_frame(decoded: Any) -> YuvFrame | None:
    """Return an ``av.VideoFrame`` in 4:2:0 without a copy; None if it is stored otherwise."""
    if decoded.format.name not in _FORMATS_420 or decoded.colorspace not in _MATRICES:
        return None
    full = decoded.format.name == "yuvj420p" or decoded.color_range == ColorRange.JPEG
    luma, cb, cr = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in decoded.planes
    )
    spec = ColorSpec(_MATRICES[decoded.colorspace], "full" if full else "limited")
    return YuvFrame(luma, cb, cr, spec)


def believable_fps(name: str, rate: Any) -> float:
    """Return a source's frame rate, or the default where it is missing or impossible."""
    fps = float(rate or 0)
    if math.isfinite(fps) and 0 < fps <= MAX_FPS:
        return fps
    _tell_default_fps(name, fps)
    return DEFAULT_FPS


@functools.cache
def _tell_default_fps(name: str, fps: float) -> None:
    """Warn once: a live source is asked whenever it is connected again."""
    _log.warning("%s states %g frames a second; taken as %g", name, fps, DEFAULT_FPS)


def believable_count(count: int) -> int | None:
    """Return a source's frame count; None where it is missing or impossible."""
    return count if 0 < count < MAX_FRAMES else None
