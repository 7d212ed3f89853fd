"""Video files as a source, decoded with PyAV, whose errors have names."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from p2p_runtime.errors import SourceError
from p2p_runtime.files import reason
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.video.frames import FrameTask, VideoInfo
from p2p_runtime.video.size_guard import SizeGuard

from .decode import CONTAINERS, PixelReader, believable_count, believable_fps, open_container
from .decoder import Decoded, VideoDecoder
from .orientation import orientation_of
from .tree import SUFFIXES

__all__ = ["VideoFileSource"]

ONE_THREAD_PX = 1280 * 720
"""Largest frame in pixels that is decoded in the calling thread. FFmpeg's threads take more CPU
time (480x360 px of H.264 on two cores: 0.67 ms instead of 0.58), which the engine could use."""

_INDEXED, _MATROSKA = ("mov,mp4,m4a,3gp,3g2,mj2", "avi"), "matroska,webm"
"""Formats that list their packets, and the one that only states how long it is."""

_WIDEST_PIXEL = 8
"""Largest ratio of a pixel's sides that is believed."""

_log = logging.getLogger(__name__)


class VideoFileSource:
    """A video file, of which no frame is dropped; see :class:`SizeGuard` for changes of size."""

    def __init__(self, path: Path, *, labels: LabelReader | None = None, yuv: bool = False) -> None:
        """Open a regular file and read its header; for the other arguments see `PixelReader`.

        Raises:
            SourceError: it is empty, not a video, damaged, or has no video stream.
        """
        self._path = path
        self._pixels = PixelReader(str(path), labels, yuv=yuv)
        self._container = _open(path)
        try:
            stream: Any = self._container.streams.video[0]
            self.info = video_info(path, stream)
            if self.info.width * self.info.height <= ONE_THREAD_PX:
                stream.codec_context.thread_count = 1
            else:
                stream.thread_type = "AUTO"
            self._decoder = VideoDecoder(str(path), self._container, self.info.fps)
            self._broken = False
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise SourceError(f"{path}: not a single frame could be decoded")
            self.info = self._seen(self.info, self._first.frame)
            _tell_left_out(path, self._container)
        except BaseException:
            self._container.close()
            raise
        self.frames_lost = 0

    def __iter__(self) -> Iterator[FrameTask]:
        """Yield every frame that can be decoded, once; warn if some could not."""
        assert self._first is not None, "a file without frames is not opened"
        if self._decoder.sound:
            self._decoder.sound.begin()
        guard = SizeGuard(str(self._path), width=self.info.width, height=self.info.height)
        for index, decoded in enumerate(itertools.chain([self._first], self._decoded)):
            yield FrameTask(
                picture=guard(self._pixels(decoded.frame), index),
                index=index,
                timestamp_s=decoded.timestamp_s,
                damaged=decoded.damaged,
                clock_jumped=decoded.jumped,
            )
        self._count_lost()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Iterator[Decoded]:
        try:
            yield from self._decoder
        except (av.error.FFmpegError, OSError) as error:
            _log.warning("%s: reading stopped: %s", self._path, reason(error))
            self._broken = True

    def _seen(self, stated: VideoInfo, first: Any) -> VideoInfo:
        """Return what is known of the video with the size and pixels of its frames as seen."""
        orientation = orientation_of(first)
        aspect = pixel_aspect(self._decoder.stream)
        width, height = first.width, first.height
        if orientation.swaps:
            width, height, aspect = height, width, 1 / aspect
        count = stated.frame_count
        if count and self._container.format.name == _INDEXED[0]:  # without what an edit list hides
            count = min(count, len(self._decoder.stream.index_entries) or count)
        return replace(
            stated,
            width=width,
            height=height,
            frame_count=count,
            pixel_aspect=aspect,
            sound=self._decoder.sound,
        )

    def _count_lost(self) -> None:
        """Count frames that came damaged beyond decoding, or did not come."""
        decoder, container = self._decoder, self._container
        unread = 0
        if container.format.name in _INDEXED:
            listed = len(decoder.stream.index_entries)
            if container.format.name == "avi" and _is_cut(self._path):  # its index was at the end
                listed = max(listed, believable_count(decoder.stream.frames) or 0)
            unread = listed - decoder.packets_read
        elif container.format.name == _MATROSKA:
            # Matroska counts seconds, not frames. Half a frame of slack: it rounds to 1 ms.
            left_s = _duration_s(container, decoder.stream) - decoder.end_s
            unread = math.floor(left_s * self.info.fps + 0.5)
        self.frames_lost = max(decoder.frames_lost + max(0, unread), int(self._broken))
        if self.frames_lost:
            got = decoder.frames
            _log.warning("%s: got %d of %d frames", self._path, got, got + self.frames_lost)


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
    kinds = ", ".join(SUFFIXES)
    return f"{path} is not a video that can be read ({reason(error)}), and no picture ({kinds})"


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


def pixel_aspect(stream: Any) -> Fraction:
    """Return the width of a stream's pixels over their height; 1 where it is missing or wild."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return aspect if 1 / _WIDEST_PIXEL <= aspect <= _WIDEST_PIXEL else Fraction(1)


def _is_cut(path: Path) -> bool:
    """Tell whether an AVI is shorter than it states."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(8)[4:], "little") + 8 > path.stat().st_size


def _tell_left_out(path: Path, container: Any) -> None:
    taken: list[Any] = [*container.streams.video[:1], *container.streams.audio[:1]]
    others = Counter(stream.type for stream in container.streams if stream not in taken)
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.items())
        _log.info("%s: these other streams are left out: %s", path, kinds)


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
