"""Live connections (:class:`p2p_runtime.video.live.Capture`): streams, cameras, frames on stdin."""

from __future__ import annotations

import errno
import functools
import logging
import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import av
import cv2
import numpy as np

from p2p_runtime.errors import SourceError, SourceLostError
from p2p_runtime.files import reason
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.labels.yuv import Picture
from p2p_runtime.prefetch import POLL_S
from p2p_runtime.redaction import redact
from p2p_runtime.tls import certificate_fault, verified_tls
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.size_guard import check_size

from .decode import CONTAINERS, PixelReader, believable_count, believable_fps, open_container
from .decoder import VideoDecoder

__all__ = ["CameraCapture", "NetworkCapture", "PipeCapture"]

# A server must not send the decoder to local files, nor to a playlist of other places.
_PROTOCOLS = "rtsp,rtsps,rtp,rtmp,rtmps,http,https,httpproxy,udp,srt,tcp,tls"
# What is sent never chooses the demuxer of another place's streams (sdp, hls, dash): the URL does.
_FORMATS = {"rtsp": "rtsp", "rtsps": "rtsp"}
_OTHERS = f"{CONTAINERS},mpjpeg,mjpeg"

_INDEX_LAST = "; an MP4 with its index at the end needs a server that answers ranges"

_log = logging.getLogger(__name__)


class NetworkCapture:
    """A connection to an RTSP, HTTP, RTMP, SRT, UDP or TCP stream, decoded with PyAV."""

    def __init__(
        self, url: str, timeout_s: float, labels: LabelReader | None, *, yuv: bool = False
    ) -> None:
        """Connect and read the stream's header.

        Args:
            url: of an allowed scheme; its password appears in no message.
            timeout_s: seconds that connecting, and later each read, may take.
            labels, yuv: see :class:`PixelReader`.

        Raises:
            SourceLostError: the server refuses, does not know the stream, or is silent.
            SourceError: what it sends is not a video.
        """
        self._name, self._timeout_s = redact(url), timeout_s
        self._http = urlsplit(url).scheme in ("http", "https")
        self._hint = _INDEX_LAST if self._http else ""
        self._container = self._open(url)
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{self._name} has no video stream")
        stream: Any = self._container.streams.video[0]
        stream.thread_type = "SLICE"  # decoding several frames at once would delay them
        self.fps = believable_fps(self._name, stream.average_rate or stream.guessed_rate)
        self._decoder = VideoDecoder(self._name, self._container, self.fps)
        self.sound = self._decoder.sound
        if self.sound is not None:
            self.sound.begin()  # nobody takes its packets
            _tell_no_sound(self._name)
        # A recording on a web server has a length, in seconds or in bytes; what is live has none.
        size = self._container.size or 0  # None where it is unknown, below 0 before PyAV 19
        self.finite = self._http and (self._container.duration is not None or size > 0)
        self.frame_count = believable_count(stream.frames) if self.finite else None
        self.beginning: int | None = None
        self.frames_lost = 0
        self._pixels = PixelReader(self._name, labels, yuv=yuv)
        self._tasks = self._decode()

    def read(self) -> FrameTask:
        """Wait for the next frame."""
        for task in self._tasks:
            return task
        raise EOFError

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _open(self, url: str) -> Any:
        options = {
            "rtsp_transport": "tcp",  # lost UDP packets would smear the labels
            "protocol_whitelist": _PROTOCOLS,
            "format_whitelist": _FORMATS.get(urlsplit(url).scheme.lower(), _OTHERS),
            # Without it, FFmpeg 9 takes the end of chunked HTTP for a loss, and a loss for the end.
            "multiple_requests": "1",
            **verified_tls(),
        }
        start_s = time.monotonic()
        try:
            try:
                return open_container(url, options, timeout_s=self._timeout_s)
            except OSError as error:
                # FFmpeg's word for "461 Unsupported Transport"
                if error.errno != errno.EPROTONOSUPPORT or not url.lower().startswith("rtsp"):
                    raise
            _log.warning("%s sends by UDP only; what is lost on the way damages frames", self._name)
            return open_container(
                url, options | {"rtsp_transport": "udp"}, timeout_s=self._timeout_s
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            failed = isinstance(error, OSError) and error.errno == errno.EIO
            if failed and (why := certificate_fault(url, self._timeout_s)):
                raise SourceLostError(f"{self._name}: {why}") from error
            raise self._lost(error, time.monotonic() - start_s) from error

    def _decode(self) -> Iterator[FrameTask]:
        asked_s = time.monotonic()
        try:
            for decoded in self._decoder:
                self.beginning = self._decoder.beginning if self._http else None
                self._hint = ""
                task = _timed(self._pixels(decoded.frame), decoded.began_s)
                task.timestamp_s = decoded.timestamp_s
                task.damaged, task.clock_jumped = decoded.damaged, decoded.jumped
                yield task
                asked_s = time.monotonic()
        except (av.error.FFmpegError, OSError) as error:
            raise self._lost(error, time.monotonic() - asked_s) from error
        if self._hint:
            raise SourceLostError(f"{self._name} ended before its first frame{self._hint}")
        if self.finite:  # what is live is joined in the middle
            self.frames_lost = self._decoder.frames_lost

    def _lost(self, error: Exception, took_s: float) -> SourceLostError:
        """Return the error to raise; FFmpeg has many names for a time-out."""
        if isinstance(error, av.error.ExitError) or took_s >= self._timeout_s:
            return SourceLostError(f"{self._name} was silent for {self._timeout_s:g} s{self._hint}")
        if isinstance(error, av.error.ProtocolNotFoundError):
            scheme = self._name.partition(":")[0]
            return SourceLostError(
                f"{self._name}: PyAV {av.__version__} was built without {scheme}"
            )
        hint = self._hint if isinstance(error, OSError) and error.errno == errno.EIO else ""
        return SourceLostError(f"{self._name}: {reason(error)}{hint}")


class CameraCapture:
    """An open camera, through OpenCV. Not tested on hardware."""

    frame_count: int | None = None
    finite: bool = False
    beginning: int | None = None
    frames_lost: int = 0

    def __init__(self, index: int) -> None:
        """Open a camera by its number, from 0; raise a SourceLostError if that cannot be done."""
        self._name = f"camera {index}"
        level = cv2.utils.logging.getLogLevel()
        try:
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # we raise
            backend = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
            self._camera = cv2.VideoCapture(index, backend)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._camera.isOpened():
            cameras = sorted(path.name for path in Path("/dev").glob("video*"))
            raise SourceLostError(
                f"{self._name} cannot be opened: it is not there, or in use; "
                + (f"there are {', '.join(cameras)} in /dev" if cameras else "there is no camera")
            )
        self._camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # frames that wait in the driver are old
        self.fps = believable_fps(self._name, self._camera.get(cv2.CAP_PROP_FPS))

    def read(self) -> FrameTask:
        """Wait for the next frame."""
        grabbed = self._camera.grab()
        start_s = time.perf_counter()
        done, image = self._camera.retrieve() if grabbed else (False, None)
        if not done or image is None:
            raise SourceLostError(f"{self._name} delivers no frame")
        return _timed(np.asarray(image, np.uint8), start_s)

    def close(self) -> None:
        """Release the camera."""
        self._camera.release()


class PipeCapture:
    """Frames without a header on stdin, one after the other, so that any segmenter can be piped in.

    Args:
        width, height, fps: size of the frames in pixels, see :func:`check_size`, and frames a
            second.
        labels: reads class ids; if it was told that there are some, a pixel is one byte, else
            three, BGR. None for a model without a palette.
        descriptor: where to read; None for stdin. A terminal raises a SourceError.
    """

    frame_count: int | None = None
    finite: bool = True
    beginning: int | None = None

    def __init__(
        self,
        width: int,
        height: int,
        fps: float,
        labels: LabelReader | None,
        descriptor: int | None = None,
    ) -> None:
        check_size("stdin", width, height)
        self.fps, self.frames_lost, self._count = fps, 0, 0
        self._labels = labels
        one_byte = labels is not None and labels.wants_ids
        self._shape = (height, width) if one_byte else (height, width, 3)
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._buffer, self._filled = self._new_buffer(), 0
        if os.isatty(self._descriptor):
            raise SourceError("stdin is a terminal; pipe raw frames into it")

    def read(self) -> FrameTask | None:
        """Return the next frame once all of its bytes are there."""
        while self._filled < len(self._buffer):
            readable, _, _ = select.select([self._descriptor], [], [], POLL_S)
            if not readable:
                return None
            count = os.readv(self._descriptor, [memoryview(self._buffer)[self._filled :]])
            if count == 0:
                self._end()
            self._filled += count
        start_s = time.perf_counter()
        pixels = np.frombuffer(self._buffer, np.uint8).reshape(self._shape)
        self._buffer, self._filled = self._new_buffer(), 0
        if self._labels is not None and (painted := self._labels(pixels, "stdin")) is not None:
            pixels = painted
        task = _timed(pixels, start_s)
        task.timestamp_s = self._count / self.fps
        self._count += 1
        return task

    def close(self) -> None:
        """Leave stdin open; it belongs to the process."""

    def _new_buffer(self) -> bytearray:
        return bytearray(int(np.prod(self._shape)))

    def _end(self) -> NoReturn:
        if self._filled:
            self.frames_lost = 1
            _log.warning(
                "stdin ended within a frame: %d of %d bytes; do --size and --labels fit?",
                self._filled, len(self._buffer),
            )  # fmt: skip
        raise EOFError


@functools.cache
def _tell_no_sound(name: str) -> None:
    """Tell it once, not with each connection."""
    _log.info("%s: its sound is not copied; that of files is", name)


def _timed(picture: Picture, start_s: float) -> FrameTask:
    """Return the task of a picture whose decoding began at ``time.perf_counter() == start_s``."""
    return FrameTask(picture=picture, times_ms={"decode": (time.perf_counter() - start_s) * 1e3})
