"""Video files as a source, decoded with PyAV, whose errors have names."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from p2p_runtime.errors import SourceError
from p2p_runtime.files import reason
from p2p_runtime.labels.palette import Palette
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.size_guard import SizeGuard

from .decode import CONTAINERS, PixelReader, believable_count, believable_fps, open_container

__all__ = ["VideoFileSource"]

ONE_THREAD_PX = 1280 * 720
"""Largest frame in pixels that is decoded in the calling thread. FFmpeg's threads take more CPU
time (480x360 px of H.264 on two cores: 0.67 ms instead of 0.58), which the engine could use."""

_log = logging.getLogger(__name__)


class VideoFileSource:
    """A video file, of which no frame is dropped; see :class:`SizeGuard` for changes of size."""

    def __init__(
        self, path: Path, *, ids_palette: Palette | None = None, yuv: bool = False
    ) -> None:
        """Open a regular file and read its header; for the other arguments see `PixelReader`.

        Raises:
            SourceError: it is empty, not a video, damaged, or has no video stream.
        """
        self._path = path
        self._pixels = PixelReader(str(path), ids_palette, yuv=yuv)
        self._container = _open(path)
        try:
            self._stream = self._container.streams.video[0]
            self.info = video_info(path, self._stream)
            if self.info.width * self.info.height <= ONE_THREAD_PX:
                self._stream.codec_context.thread_count = 1
            else:
                self._stream.thread_type = "AUTO"
        except BaseException:
            self._container.close()
            raise
        self.frames_lost = 0

    def __iter__(self) -> Iterator[FrameTask]:
        """Yield every frame that can be decoded; warn if some, fail if all could not."""
        index, end_s = 0, 0.0
        guard = SizeGuard(str(self._path), width=self.info.width, height=self.info.height)
        for decoded in self._decode():
            picture = guard(self._pixels(decoded), index)
            timestamp_s = index / self.info.fps if decoded.time is None else decoded.time
            yield FrameTask(picture=picture, index=index, timestamp_s=timestamp_s)
            index += 1
            end_s = timestamp_s + 1 / self.info.fps
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

    def _count_lost(self, got: int, end_s: float) -> None:
        expected = self.info.frame_count
        if expected is None:
            # Matroska counts seconds, not frames. Half a frame of slack: it rounds to 1 ms.
            duration_s = _duration_s(self._container, self._stream)
            expected = got + max(0, math.floor((duration_s - end_s) * self.info.fps + 0.5))
        self.frames_lost = max(0, expected - got)
        if self.frames_lost:
            _log.warning("%s: got %d of %d frames", self._path, got, expected)


def _open(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        # An absolute path cannot be taken for a protocol.
        container = open_container(str(path.absolute()), options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(_why_not_opened(path, error)) from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{path} has no video stream")
    return container


def _why_not_opened(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begins_as_mp4 = file.read(8)[4:] == b"ftyp"
    if begins_as_mp4 and b"moov" not in _boxes(path):
        return f"{path}: moov atom missing: the file was not finished, or copied only in part"
    return f"{path} is not a video that can be read ({reason(error)})"


def _boxes(path: Path) -> list[bytes]:
    """Return the names of an MP4's complete top-level boxes."""
    names: list[bytes] = []
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while position + 8 <= size and len(names) < 1000:
            file.seek(position)
            header = file.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:  # a 64-bit length follows
                length = int.from_bytes(header[8:16], "big")
            if length < 8 or position + length > size:  # 0 means: up to the end
                break
            names.append(name)
            position += length
    return names


def video_info(path: Path, stream: Any) -> VideoInfo:
    """Return what a video stream states, where possible; raise a SourceError without a size."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if not width or not height:
        raise SourceError(f"{path}: the video has no size; not a single frame can be decoded")
    return VideoInfo(
        width=width,
        height=height,
        fps=believable_fps(str(path), stream.average_rate or stream.guessed_rate),
        frame_count=believable_count(stream.frames),
    )


def _duration_s(container: Any, stream: Any) -> float:
    """Return the duration of the video stream, 0 if nothing reliable states it."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if match:
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return 0.0
