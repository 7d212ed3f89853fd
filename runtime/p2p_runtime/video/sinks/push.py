"""H.264 pushed to a server by RTSP, RTMP, SRT, UDP or TCP, from a process of its own.

PyAV holds Python's global lock while it connects, and FFmpeg waits for a silent server without a
limit. A process can be left and ended, whatever it waits for. The run sends it frames through a
pipe, and starts another one when the server has gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags

from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason
from p2p_runtime.prefetch import POLL_S
from p2p_runtime.redaction import redact, split_url
from p2p_runtime.tls import TLS_PORTS, check_certificate, verified_tls
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo
from p2p_runtime.video.live import RECONNECT_S, LivePolicy

from .h264 import H264Sink, to_i420
from .output_lock import require_shape

__all__ = ["PUSH_FORMATS", "StreamSink", "serve"]

PUSH_FORMATS = {"rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv"}
PUSH_FORMATS |= dict.fromkeys(("srt", "udp", "tcp"), "mpegts")
"""Container format by URL scheme."""

ANSWER_S = 10.0
"""Longest wait in seconds for a server: for its first byte, and for it to take a frame."""

_START_S = 20.0
"""Longest wait in seconds for the process to start on a busy machine."""

_STOP_S = 1.0
"""Longest wait in seconds for a server once the run was told to stop."""

_PORTS = {"rtsp": 554, "rtmp": 1935} | TLS_PORTS
_HELLOS = {
    "rtsp": b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    "rtmp": b"\x03" + bytes(1536),  # version and the first part of the handshake
}
"""First request by scheme; servers of the encrypted schemes only have to show a certificate."""

_IN_OPTIONS, _IN_NAMES, _ESCAPED = r"[\\':\]]", r"[\\'|]", r"\\\g<0>"
"""What FFmpeg's tee wants escaped, in an option's value and then in the whole name."""

_READY = "ready"
_TIME = struct.Struct("<d")
_CODE = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve()"

_log = logging.getLogger(__name__)


class StreamSink(FrameSink):
    """Pushes frames to a server; whether the server keeps them cannot be checked.

    A server that goes away or takes nothing is connected again. Meanwhile frames are missed, or
    waited with if ``waits``.
    """

    def __init__(
        self,
        url: str,
        video: VideoInfo,
        *,
        waits: bool = False,
        reconnect_for_s: float = RECONNECT_S,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Connect to a URL of a scheme in :data:`PUSH_FORMATS`; no message holds its password.

        A server that has gone is given up after ``reconnect_for_s``. Every wait ends once
        ``stopping`` returns True.

        Raises:
            SinkError: the server does not answer within ten seconds, or refuses.
        """
        self._url, self._video, self._name = url, video, redact(url)
        self._waits, self._stopping = waits, stopping
        self._policy = LivePolicy(reconnect_for_s=reconnect_for_s)
        self._shape, self.missed = (video.height, video.width, 3), 0
        self._delays_s, self._taken_s = self._policy.delays_s(), time.monotonic()
        self._retry_at_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._connected, self._began_s = False, 0.0
        self._start()
        while not (self._connected or stopping()):
            if why := self._progress(POLL_S):
                self._end(0)
                raise SinkError(f"cannot push to {self._name}: {why}")

    def write(self, task: FrameTask) -> None:
        """Send one frame; raise a SinkError once the server was away for too long."""
        require_shape(task.image, self._shape, self._name)
        while not self._is_connected() and self._waits and not self._stopping():
            time.sleep(POLL_S)
        sent = self._connected and self._send(
            _TIME.pack(task.timestamp_s) + to_i420(task.image).tobytes()
        )
        self.missed += not sent

    def close(self) -> None:
        """Let the process send what it has, for a while, and end it."""
        self._end(_STOP_S if self._stopping() else ANSWER_S)

    def abort(self) -> None:
        """End the process."""
        self._end(_STOP_S)

    def losses(self) -> dict[str, int]:
        """Return how many frames were missed."""
        return {self._name: self.missed} if self.missed else {}

    def _start(self) -> None:
        code = _CODE.format(path=[os.path.abspath(p) for p in sys.path], module=__name__)  # noqa: PTH100
        video = self._video
        settings = {
            "url": self._url,
            "answer_s": ANSWER_S,
            "video": {"width": video.width, "height": video.height, "fps": float(video.fps)},
            "pixel_aspect": str(video.pixel_aspect),
        }
        pipe = subprocess.PIPE
        try:
            # In a session of its own: the terminal's Ctrl-C is for the run, which ends it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", code],
                stdin=pipe,
                stdout=pipe,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise SinkError(f"cannot push to {self._name}: {reason(error)}") from error
        self._connected, self._began_s = False, time.monotonic()
        assert self._process.stdin is not None, "it is a pipe"
        os.set_blocking(self._process.stdin.fileno(), False)
        with contextlib.suppress(BrokenPipeError):  # told by _progress
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")

    def _progress(self, wait_s: float) -> str | None:
        """Note that the process is connected, or return why it is not."""
        process = self._process
        assert process is not None, "it was started"
        assert process.stdout is not None, "it is a pipe"
        if select.select([process.stdout], [], [], wait_s)[0]:
            said = process.stdout.readline().decode().strip()
            self._connected = said == _READY
            return None if self._connected else said or "the connection broke"
        late = time.monotonic() - self._began_s > ANSWER_S + _START_S
        return f"no answer for {ANSWER_S:g} s" if late else None

    def _is_connected(self) -> bool:
        """Do what is due for the connection."""
        if self._process is None and time.monotonic() >= self._retry_at_s:
            self._start()
        if self._process is not None and not self._connected:
            if why := self._progress(0):
                self._lose(why)
            elif self._connected:
                _log.warning("%s: back after %.1f s", self._name, time.monotonic() - self._taken_s)
        return self._connected

    def _send(self, content: bytes) -> bool:
        """Write to the process as long as it takes something; return whether it took all."""
        assert self._process is not None, "it is connected"
        assert self._process.stdin is not None, "it is a pipe"
        rest, since_s = memoryview(content), time.monotonic()
        while rest:
            if select.select([], [self._process.stdin], [], POLL_S)[1]:
                try:
                    rest = rest[os.write(self._process.stdin.fileno(), rest) :]
                    since_s = time.monotonic()
                except OSError:  # the process has ended
                    self._lose(self._progress(POLL_S) or "the connection broke")
                    return False
            elif time.monotonic() - since_s > (_STOP_S if self._stopping() else ANSWER_S):
                self._lose(f"it took nothing for {time.monotonic() - since_s:.0f} s")
                return False
        self._taken_s, self._delays_s = time.monotonic(), self._policy.delays_s()
        return True

    def _lose(self, why: str) -> None:
        """End the process, and schedule the next attempt unless it is too late for one."""
        self._end(0)
        gone_s, delay_s = time.monotonic() - self._taken_s, next(self._delays_s)
        if gone_s + delay_s > self._policy.reconnect_for_s:
            raise SinkError(f"{self._name} was lost {gone_s:.1f} s ago: {why}")
        self._retry_at_s = time.monotonic() + delay_s
        _log.warning("%s: lost (%s); next attempt in %.1f s", self._name, why, delay_s)

    def _end(self, grace_s: float) -> None:
        if self._process is None:
            return
        process, self._process, self._connected = self._process, None, False
        with process:  # closes its pipes
            assert process.stdin is not None, "it is a pipe"
            process.stdin.close()
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()


def serve() -> None:
    """Push the frames on stdin; the process of a :class:`StreamSink`.

    Nothing can end a call that waits for a server, so an alarm, which nothing handles, ends the
    process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end of stdin ends it
    with open(0, "rb", closefd=False) as stdin:  # a descriptor
        settings = json.loads(stdin.readline())
        limit_s = round(settings["answer_s"] + _STOP_S)
        aspect = Fraction(settings["pixel_aspect"])
        video = VideoInfo(**settings["video"], pixel_aspect=aspect)
        width, height = video.width + video.width % 2, video.height + video.height % 2
        frame = width * height * 3 // 2
        try:
            signal.alarm(2 * limit_s)
            sink = _connect(settings["url"], video, settings["answer_s"])
            print(_READY, flush=True)  # noqa: T201  # the protocol
            while len(content := stdin.read(_TIME.size + frame)) == _TIME.size + frame:
                signal.alarm(limit_s)
                yuv = np.frombuffer(content, np.uint8, offset=_TIME.size)
                sink.encode(yuv.reshape(height * 3 // 2, width), _TIME.unpack_from(content)[0])
                signal.alarm(0)
            signal.alarm(limit_s)
            sink.close()
        except (av.error.FFmpegError, OSError, ValueError, SinkError) as error:
            with contextlib.suppress(OSError):
                print(reason(error), flush=True)  # noqa: T201  # the protocol
            os._exit(SinkError.exit_code)  # closing what is broken could block


def _connect(url: str, video: VideoInfo, answer_s: float) -> H264Sink:
    scheme = url.partition(":")[0].lower()
    options = verified_tls() if scheme in TLS_PORTS else {}
    options |= {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
    if scheme in _PORTS:
        _check_answer(url, scheme, answer_s)
    target, kind = url, PUSH_FORMATS[scheme]
    if scheme == "rtmps":
        # PyAV opens what has no format of its own without options, and thus without checks.
        target, kind, options = _in_tee(url, kind, options), "tee", {}
    container = av.open(target, "w", format=kind, options=options)
    sink = H264Sink(container, redact(url), video)
    if kind == "tee":  # it does not ask for what its formats need
        container.streams.video[0].codec_context.flags |= Flags.global_header
    container.start_encoding()
    return sink


def _in_tee(url: str, container_format: str, options: dict[str, str]) -> str:
    """Return a name for FFmpeg's tee, which opens one URL in a format with options."""
    settings = {"f": container_format, **options}.items()
    escaped = [f"{key}={re.sub(_IN_OPTIONS, _ESCAPED, value)}" for key, value in settings]
    return re.sub(_IN_NAMES, _ESCAPED, f"[{':'.join(escaped)}]{url}")


def _check_answer(url: str, scheme: str, answer_s: float) -> None:
    """Make sure that the server answers; raise an OSError that says so otherwise."""
    parts = split_url(url, SinkError)
    address = (parts.hostname or "", parts.port or _PORTS[scheme])
    try:
        with socket.create_connection(address, answer_s) as probe:
            if hello := _HELLOS.get(scheme):
                probe.sendall(hello)
                probe.recv(1)
            elif scheme in TLS_PORTS:
                check_certificate(probe, address[0])
    except TimeoutError as error:
        raise TimeoutError(f"no answer for {answer_s:g} s") from error
