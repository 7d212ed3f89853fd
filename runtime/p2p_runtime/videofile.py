"""Video files as a source, decoded with PyAV, whose errors have names."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from .errors import SourceError
from .frames import DEFAULT_FPS, Frame, VideoInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .palette import Palette

__all__ = ["VideoFileSource"]

MAX_FPS = 240.0
MAX_FRAMES = 1 << 31

# Containers that hold their own frames. Playlists (hls, concat) and numbered pictures (image2)
# are left out: they open other files.
_CONTAINERS = (
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


class VideoFileSource:
    """A video file; frames are waited for, never dropped.

    A frame of another size than the first (some streams switch) is resized by nearest neighbour,
    which keeps label colours.
    """

    def __init__(self, path: Path, *, ids_palette: Palette | None = None) -> None:
        """Open the file and read its header.

        Args:
            path: an existing regular file.
            ids_palette: paint grey levels as class ids with these colours.

        Raises:
            SourceError: it is empty, not a video, damaged, or has no video stream.
        """
        self._path = path
        self._ids_palette = ids_palette
        self._reformatter = VideoReformatter()  # a frame's own would be set up for each frame
        self._container = _open(path)
        try:
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            self._info = _info(path, self._stream)
        except BaseException:
            self._container.close()
            raise
        self._lost = 0

    @property
    def info(self) -> VideoInfo:
        """Size, speed and length, as far as they are believable."""
        return self._info

    @property
    def frames_lost(self) -> int:
        """Frames that the file promises and that could not be decoded."""
        return self._lost

    def __iter__(self) -> Iterator[Frame]:
        """Give every frame that can be decoded; then warn if that was not all.

        Raises:
            SourceError: not a single frame could be decoded.
        """
        index, end_s, resized = 0, 0.0, False
        for decoded in self._decode():
            image = self._to_bgr(decoded)
            if image.shape[:2] != (self._info.height, self._info.width):
                if not resized:
                    _log.warning("%s: the size changes at frame %d", self._path, index)
                resized = True
                size = (self._info.width, self._info.height)
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT))
            timestamp_s = index / self._info.fps if decoded.time is None else decoded.time
            yield Frame(image=image, index=index, timestamp_s=timestamp_s)
            index += 1
            end_s = timestamp_s + 1 / self._info.fps
        if index == 0:
            raise SourceError(f"{self._path}: not a single frame could be decoded")
        self._count_lost(index, end_s)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Iterator[Any]:
        """Decode packet by packet, so that one broken packet does not end the video."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                _log.warning("%s: reading stopped: %s", self._path, error.strerror)
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                _log.debug("%s: a packet was not decoded: %s", self._path, error.strerror)
                continue
            yield from frames

    def _to_bgr(self, decoded: Any) -> NDArray[np.uint8]:
        if self._ids_palette is None:
            return np.ascontiguousarray(
                self._reformatter.reformat(decoded, format="bgr24").to_ndarray()
            )
        if decoded.format.name != "gray":
            raise SourceError(
                f"{self._path} is {decoded.format.name}, not 8-bit grey: it holds colours, not "
                "class ids; leave --labels ids out"
            )
        return self._ids_palette.to_colours(np.asarray(decoded.to_ndarray(), np.uint8))

    def _count_lost(self, got: int, end_s: float) -> None:
        expected = self._info.frame_count
        if expected is None:
            # Matroska counts seconds, not frames. Half a frame of slack: it rounds to 1 ms.
            duration_s = _duration_s(self._container, self._stream)
            expected = got + max(0, math.floor((duration_s - end_s) * self._info.fps + 0.5))
        self._lost = max(0, expected - got)
        if self._lost:
            _log.warning("%s: got %d of %d frames", self._path, got, expected)


def _open(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        # An absolute path cannot be taken for a protocol.
        container = av.open(str(path.absolute()), options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(_why_not_opened(path, error)) from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{path} has no video stream")
    return container


def _why_not_opened(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begins_as_mp4 = file.read(8)[4:] == b"ftyp"
    if begins_as_mp4 and "moov" not in _boxes(path):
        return f"{path}: moov atom missing: the file was not finished, or copied only in part"
    reason = getattr(error, "strerror", None) or str(error)
    return f"{path} is not a video that can be read ({reason})"


def _boxes(path: Path) -> list[str]:
    """Return the names of an MP4's top-level boxes, as far as they are all there."""
    names: list[str] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position + 8 <= size and len(names) < 1000:
            file.seek(position)
            header = file.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:  # a 64-bit length follows
                length = int.from_bytes(header[8:16], "big")
            if length < 8 or position + length > size:  # 0 means: up to the end
                break
            names.append(name.decode("ascii", errors="replace"))
            position += length
    return names


def _info(path: Path, stream: Any) -> VideoInfo:
    width, height = stream.codec_context.width, stream.codec_context.height
    if not width or not height:
        raise SourceError(f"{path}: the video has no size; not a single frame can be decoded")
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    if not (math.isfinite(fps) and 0 < fps <= MAX_FPS):
        _log.warning("%s says %g frames a second; taken as %g", path, fps, DEFAULT_FPS)
        fps = DEFAULT_FPS
    count = stream.frames if 0 < stream.frames < MAX_FRAMES else None
    return VideoInfo(width=width, height=height, fps=fps, frame_count=count)


def _duration_s(container: Any, stream: Any) -> float:
    """Return how long the video stream is, 0 when nothing trustworthy says so."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if match:
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0
