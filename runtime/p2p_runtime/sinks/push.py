"""A stream that is pushed to a server: RTSP, RTMP, or MPEG-TS over SRT, UDP or TCP."""

from __future__ import annotations

import contextlib
import threading
from typing import Any
from urllib.parse import urlsplit

import av

from p2p_runtime.errors import SinkError
from p2p_runtime.frames import Frame
from p2p_runtime.safety import redact

from .claims import reason
from .h264 import H264Encoder

__all__ = ["PUSH_FORMATS", "PushSink"]

PUSH_FORMATS = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "rtmp": "flv",
    "rtmps": "flv",
    "srt": "mpegts",
    "udp": "mpegts",
    "tcp": "mpegts",
}
"""The schemes that can be pushed to, and the container of each."""

_CONNECT_S = 10.0


class PushSink:
    """H.264 to a server that takes it; what the server makes of it cannot be checked."""

    def __init__(self, url: str, *, width: int, height: int, fps: float) -> None:
        """Connect to the server.

        Args:
            url: of a scheme in :data:`PUSH_FORMATS`; its password appears in no message.
            width, height: size of the frames to come, in pixels; odd sides grow by one.
            fps: frames a second.

        Raises:
            SinkError: the server does not answer within ten seconds, or refuses.
        """
        self._name = redact(url)
        scheme = urlsplit(url).scheme.lower()
        try:
            container = av.open(url, "w", format=PUSH_FORMATS[scheme], options=_options(scheme))
            self._encoder = H264Encoder(container, self._name, width=width, height=height, fps=fps)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SinkError(f"cannot push to {self._name}: {reason(error)}") from error
        self._connect(container)

    def write(self, frame: Frame) -> None:
        """Encode and send one frame; wait while the server is busy.

        Raises:
            SinkError: it has another size or type than the stream, or the connection broke.
        """
        self._encoder.write(frame)

    def close(self) -> None:
        """Say goodbye.

        Raises:
            SinkError: the last frames could not be sent.
        """
        self._encoder.finish()

    def abort(self) -> None:
        """Say goodbye as far as that works."""
        with contextlib.suppress(SinkError):  # the error that led here is the one to tell
            self.close()

    def _connect(self, container: Any) -> None:
        """Send the header in a thread of its own: FFmpeg waits for a silent server for ever."""
        errors: list[Exception] = []

        def connect() -> None:
            try:
                container.start_encoding()
            except (av.error.FFmpegError, OSError) as error:
                errors.append(error)

        thread = threading.Thread(target=connect, name="push", daemon=True)
        thread.start()
        thread.join(_CONNECT_S)
        if thread.is_alive():
            raise SinkError(f"cannot push to {self._name}: no answer for {_CONNECT_S:g} s")
        if errors:
            raise SinkError(f"cannot push to {self._name}: {reason(errors[0])}") from errors[0]


def _options(scheme: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
