"""H.264 as a sink: in a file that survives a crash; see ``push`` for servers."""

from __future__ import annotations

import contextlib
import logging
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import SinkError, count_of
from p2p_runtime.files import reason
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo
from p2p_runtime.video.sound import SoundTrack

from .output_lock import open_locked, require_shape
from .sound_copy import SoundCopy

__all__ = ["CODEC", "VIDEO_FORMATS", "H264Sink", "VideoFileSink", "to_i420"]

VIDEO_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Container format by suffix of a file."""

CODEC = "libx264"
GOP_FRAMES = 12
"""Distance of key frames. A fragment reaches the disk with the next one, so a crash may cost that
many frames."""

PRESET, CRF = "ultrafast", 19
"""Effort and quality of libx264. The least effort, because an edge device's cores belong to the
model; ``python -m experiments.encoding`` measures what others cost."""

_TIME_BASE = Fraction(1, 90_000)
_MAX_FPS_DENOMINATOR = 1001  # 30000/1001 and its relatives come out exact
_SMPTE170M, _LIMITED_RANGE = 6, 1  # as OpenCV converts; players guess otherwise

_INTERLEAVE_US = 100_000
"""Longest time in microseconds that a frame waits for the sound beside it."""

_log = logging.getLogger(__name__)


class H264Sink(FrameSink):
    """Encodes frames of one size; see :class:`p2p_runtime.video.frames.FrameSink`."""

    def __init__(
        self, container: Any, name: str, video: VideoInfo, *, preset: str = PRESET, crf: int = CRF
    ) -> None:
        """Add a video stream to an open ``av`` output container; ``name`` is for errors.

        Odd sides grow by one; the frame rate is for players, each frame has its time. ``preset``
        and ``crf`` are libx264's effort, and its rate factor: lower is better and larger.
        """
        width, height, fps = video.width, video.height, video.fps
        self.written = 0
        self._container, self._name = container, name
        self._shape, self._last_pts = (height, width, 3), -1
        rate = Fraction(fps).limit_denominator(_MAX_FPS_DENOMINATOR)
        # Zero latency: no frame waits in the encoder for a crash to take it.
        options = {"preset": preset, "crf": str(crf), "tune": "zerolatency"}
        self._stream: Any = container.add_stream(CODEC, rate=rate, options=options)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.gop_size, context.time_base = GOP_FRAMES, _TIME_BASE
        context.colorspace, context.color_range = _SMPTE170M, _LIMITED_RANGE
        context.sample_aspect_ratio = video.pixel_aspect
        self._sound: SoundCopy | None = None
        self._step_s, self._end_s = 1 / fps, 0.0

    def write(self, task: FrameTask) -> None:
        """Encode one frame."""
        require_shape(task.image, self._shape, self._name)
        self.encode(to_i420(task.image), task.timestamp_s)

    def encode(self, yuv: NDArray[np.uint8], timestamp_s: float) -> None:
        """Encode one frame that :func:`to_i420` made."""
        picture = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        # Players and muxers need increasing times, whatever the source states.
        self._last_pts = max(round(timestamp_s / _TIME_BASE), self._last_pts + 1)
        picture.pts, picture.time_base = self._last_pts, _TIME_BASE
        self._end_s = timestamp_s + self._step_s
        self._encode(picture)
        self.written += 1

    def close(self) -> None:
        """Write what the encoder still holds, then close the container in every case."""
        try:
            try:
                if self.written:
                    self._encode(None)
            finally:
                self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Finish as far as possible."""
        with contextlib.suppress(SinkError):  # the error that led here is the one to report
            self.close()

    def _encode(self, picture: Any) -> None:
        try:
            self._container.mux(self._stream.encode(picture))
            if self._sound is not None:
                self._sound.write_until(self._end_s)
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SinkError:
        return SinkError(
            f"cannot write {self._name}: {reason(error)}; "
            f"{count_of(self.written, 'frame')} written before"
        )


def to_i420(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 BGR as (H * 3 / 2, W) uint8 I420; odd sides grow by one."""
    bottom, right = image.shape[0] % 2, image.shape[1] % 2
    if bottom or right:
        image = np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE))
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2YUV_I420), np.uint8)


class VideoFileSink(H264Sink):
    """H.264 in fragmented MP4 (or Matroska): readable up to the last fragment at any moment."""

    def __init__(
        self, path: Path, video: VideoInfo, *, source: Path | None = None, overwrite: bool = False
    ) -> None:
        """Lock the file and start the encoder, as `open_sink` does, or raise a SinkError."""
        self._path = path
        if video.height % 2 or video.width % 2:
            _log.warning(
                "%s: %dx%d px is odd, which H.264 cannot hold; the last row or column is repeated",
                path, video.width, video.height,
            )  # fmt: skip
        self._lock = open_locked(path, source, overwrite)
        container_format, options = VIDEO_FORMATS[path.suffix.lower()], {"flush_packets": "1"}
        if container_format != "matroska":
            options["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
        if video.sound is not None:
            # Frames do not wait for sound, which a crash would make a loss; the header does, as
            # some codecs are only described by their packets.
            options["max_interleave_delta"] = str(_INTERLEAVE_US)
            if "movflags" in options:
                options["movflags"] += "+delay_moov"
        try:
            container = av.open(str(path.absolute()), "w", format=container_format, options=options)
            super().__init__(container, str(path), video)
            if video.sound is not None:
                self._sound = _copy(video.sound, container, str(path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._release()
            raise SinkError(f"cannot write {path}: {reason(error)}") from error

    def close(self) -> None:
        """Finish the file, reopen it and count its frames; remove it if it has none."""
        try:
            super().close()
            os.fsync(self._lock)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {reason(error)}") from error
        finally:
            self._release()
        if self.written and (found := count_frames(self._path)) != self.written:
            raise SinkError(
                f"{self._path} holds {count_of(found, 'frame')}, not the {self.written} written"
            )

    def _release(self) -> None:
        if self._lock < 0:
            return
        if os.fstat(self._lock).st_size == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


def _copy(sound: SoundTrack, container: Any, name: str) -> SoundCopy | None:
    try:
        return SoundCopy(container, sound)
    except ValueError as error:
        _log.warning("%s gets no sound: %s", name, error)
        return None


def count_frames(path: Path) -> int:
    """Return how many frames a video file holds; raise a SinkError if it cannot be read."""
    try:
        with av.open(str(path.absolute())) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (av.error.FFmpegError, OSError) as error:
        raise SinkError(f"{path} was written but cannot be read back: {reason(error)}") from error
