"""Network streams as a source: RTSP, HTTP, RTMP, SRT, UDP and TCP, decoded with PyAV."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import av

from p2p_runtime.errors import SourceError, SourceLostError
from p2p_runtime.files import reason
from p2p_runtime.redaction import redact
from p2p_runtime.video.frames import FrameTask

from .decode import CONTAINERS, PixelReader, believable_count, believable_fps

if TYPE_CHECKING:
    from p2p_runtime.labels.palette import Palette

__all__ = ["NetworkCapture"]

# A server must not send the decoder to local files, nor to a playlist of other places.
_PROTOCOLS = "rtsp,rtsps,rtp,rtmp,rtmps,http,https,httpproxy,udp,srt,tcp,tls"
_FORMATS = f"{CONTAINERS},rtsp,rtp,sdp,mpjpeg,mjpeg"

_log = logging.getLogger(__name__)


class NetworkCapture:
    """A connection to a stream; see :class:`p2p_runtime.video.live.Capture`."""

    def __init__(
        self, url: str, timeout_s: float, ids_palette: Palette | None, *, yuv: bool = False
    ) -> None:
        """Connect and read the stream's header.

        Args:
            url: of an allowed scheme; its password appears in no message.
            timeout_s: seconds that connecting, and later each read, may take.
            ids_palette: paint grey levels as class ids with these colours.
            yuv: leave frames in 4:2:0 as they are stored.

        Raises:
            SourceLostError: the server refuses, does not know the stream, or is silent.
            SourceError: what it sends is not a video.
        """
        self._name, self._timeout_s, self.frames_lost = redact(url), timeout_s, 0
        self._container = self._open(url)
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{self._name} has no video stream")
        stream: Any = self._container.streams.video[0]
        stream.thread_type = "SLICE"  # decoding several frames at once would delay them
        self.fps = believable_fps(self._name, stream.average_rate or stream.guessed_rate)
        # A recording on a web server has a length; what is live has none.
        http = urlsplit(url).scheme in ("http", "https")
        self.finite = http and self._container.duration is not None
        self.frame_count = believable_count(stream.frames) if self.finite else None
        self._pixels = PixelReader(self._name, ids_palette, yuv=yuv)
        self._tasks = self._decode(stream)

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
            "format_whitelist": _FORMATS,
        }
        start_s = time.monotonic()
        try:
            return av.open(url, options=options, timeout=self._timeout_s, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._lost(error, time.monotonic() - start_s) from error

    def _decode(self, stream: Any) -> Iterator[FrameTask]:
        """Decode packet by packet, so that a broken one does not end the stream."""
        packets = self._container.demux(stream)
        while True:
            asked_s = time.monotonic()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                raise self._lost(error, time.monotonic() - asked_s) from error
            try:
                start_s = time.perf_counter()
                for decoded in packet.decode():
                    picture = self._pixels(decoded)
                    decode_ms = (time.perf_counter() - start_s) * 1e3
                    yield FrameTask(picture=picture, times_ms={"decode": decode_ms})
                    start_s = time.perf_counter()
            except av.error.FFmpegError as error:
                _log.debug("%s: a packet was not decoded: %s", self._name, error.strerror)

    def _lost(self, error: Exception, took_s: float) -> SourceLostError:
        """Return the error to raise; FFmpeg has many names for a time-out."""
        if isinstance(error, av.error.ExitError) or took_s >= self._timeout_s:
            return SourceLostError(f"{self._name} was silent for {self._timeout_s:g} s")
        if isinstance(error, av.error.ProtocolNotFoundError):
            scheme = self._name.partition(":")[0]
            return SourceLostError(
                f"{self._name}: PyAV {av.__version__} was built without {scheme}"
            )
        return SourceLostError(f"{self._name}: {reason(error)}")
