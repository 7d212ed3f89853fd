"""A stream that is pushed to a server: RTSP, RTMP, or MPEG-TS over SRT, UDP or TCP."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import av

from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason
from p2p_runtime.redaction import redact

from .h264 import H264Sink

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
"""Container format by URL scheme."""

ANSWER_S = 10.0
"""Longest wait in seconds for a server's first byte."""

_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443}
_HELLOS = {
    "rtsp": b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "rtmp": b"\x03" + bytes(1536),  # version and the first part of the handshake
}
"""First request by scheme; servers of the encrypted schemes only have to accept the connection."""


class StreamSink(H264Sink):
    """H.264 pushed to a server; whether the server keeps it cannot be checked."""

    def __init__(self, url: str, *, width: int, height: int, fps: float) -> None:
        """Connect to the server.

        Args:
            url: of a scheme in :data:`PUSH_FORMATS`; its password appears in no message.
            width, height: size of the frames in pixels; odd sides grow by one.
            fps: frames a second.

        Raises:
            SinkError: the server does not answer within ten seconds, or refuses.
        """
        name, scheme = redact(url), urlsplit(url).scheme.lower()
        if scheme in _PORTS:
            _check_answer(url, scheme, name)
        options = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
        try:
            container = av.open(url, "w", format=PUSH_FORMATS[scheme], options=options)
            super().__init__(container, name, width=width, height=height, fps=fps)
            container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SinkError(f"cannot push to {name}: {reason(error)}") from error


def _check_answer(url: str, scheme: str, name: str) -> None:
    """Make sure that the server answers.

    PyAV holds Python's global lock while it connects, and FFmpeg waits for a silent server without
    a limit: the whole process would freeze, signals included.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or _PORTS[scheme])
    try:
        with socket.create_connection(address, ANSWER_S) as probe:
            if hello := _HELLOS.get(scheme):
                probe.sendall(hello)
                probe.recv(1)
    except TimeoutError as error:
        raise SinkError(f"cannot push to {name}: no answer for {ANSWER_S:g} s") from error
    except OSError as error:
        raise SinkError(f"cannot push to {name}: {reason(error)}") from error
