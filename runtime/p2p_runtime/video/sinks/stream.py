"""A stream that is pushed to a server: RTSP, RTMP, or MPEG-TS over SRT, UDP or TCP."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

import av

from p2p_runtime.errors import SinkError
from p2p_runtime.model.onnx_check import redact
from p2p_runtime.video.frames import Frame

from .h264 import H264Encoder
from .output_lock import reason

__all__ = ["PUSH_FORMATS", "StreamSink"]

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

_ANSWER_S = 10.0
_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}
_HELLOS = {
    "rtsp": b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "rtmp": b"\x03" + bytes(1536),  # version and the first part of the handshake
}
"""What a server answers before anything is pushed; the encrypted schemes only have to connect."""


class StreamSink:
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
        if scheme in _PORTS:
            _check_answer(url, scheme, self._name)
        try:
            container = av.open(url, "w", format=PUSH_FORMATS[scheme], options=_options(scheme))
            self._encoder = H264Encoder(container, self._name, width=width, height=height, fps=fps)
            container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SinkError(f"cannot push to {self._name}: {reason(error)}") from error

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


def _check_answer(url: str, scheme: str, name: str) -> None:
    """Ask the server for a sign of life.

    PyAV holds Python's lock while it connects, and FFmpeg waits for a silent server for ever: the
    whole process would freeze, signals included.

    Raises:
        SinkError: nobody listens there, or nobody answers.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or _PORTS[scheme])
    try:
        with socket.create_connection(address, _ANSWER_S) as probe:
            if hello := _HELLOS.get(scheme):
                probe.sendall(hello)
                probe.recv(1)
    except TimeoutError as error:
        raise SinkError(f"cannot push to {name}: no answer for {_ANSWER_S:g} s") from error
    except OSError as error:
        raise SinkError(f"cannot push to {name}: {reason(error)}") from error


def _options(scheme: str) -> dict[str, str]:
    return {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
