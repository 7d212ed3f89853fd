"""An RTSP server of a few lines, with the faults of real cameras.

It answers OPTIONS, DESCRIBE, SETUP (interleaved in the TCP connection) and PLAY, then sends
MPEG-TS in RTP packets of payload type 33. Loopback only; port 0 picks a free one.
"""

from __future__ import annotations

import re
import socket
import socketserver
import struct
import threading
import time
from types import TracebackType

_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=fake\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:0\r\n"
)
_CHUNK = 7 * 188


class FakeRTSP:
    """Serves one MPEG-TS to whoever asks; use it as a context manager.

    Attributes:
        port: where it listens.
        clients: how many connections there were.
        plays: how often a client was answered PLAY.
        recording, recorded: whether a client pushes, and how many bytes it has pushed.
    """

    def __init__(
        self,
        stream: bytes = b"",
        *,
        port: int = 0,
        status: int = 200,
        silent: bool = False,
        duration_s: float = 0.0,
        stall_after: int | None = None,
        close_after: int | None = None,
        transports: tuple[str, ...] = ("tcp",),
    ) -> None:
        """Set it up.

        Args:
            stream: what to send, once for each PLAY; afterwards the connection is closed.
            status: the answer to DESCRIBE, for example 401.
            silent: accept connections and never answer.
            duration_s: spread the sending evenly over so many seconds.
            transports: what SETUP accepts, of ``tcp`` and ``udp``; 461 for the others.
            stall_after, close_after: after so many bytes, send nothing more, or hang up.
        """
        self.stream, self.status, self.silent, self.duration_s = stream, status, silent, duration_s
        self.stall_after, self.close_after = stall_after, close_after
        self.transports = transports
        self.clients = self.plays = self.recorded = 0
        self.recording = False
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.fake = self
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where to find it, with credentials that must never be shown."""
        return f"rtsp://user:secret@127.0.0.1:{self.port}/live"

    def __enter__(self) -> FakeRTSP:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()  # waits for the handlers


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    fake: FakeRTSP

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no news."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    port: int | None = None

    def handle(self) -> None:
        fake = self.server.fake
        fake.clients += 1
        self.request.settimeout(0.05)
        buffer = b""
        while not fake.stopped.is_set():
            try:
                data = self.request.recv(4096)
            except TimeoutError:
                continue
            if not data:
                return
            if fake.recording:
                fake.recorded += len(data)
                if b"TEARDOWN" in data:
                    return
                continue
            buffer += data
            while not fake.silent and b"\r\n\r\n" in buffer:
                head, _, rest = buffer.partition(b"\r\n\r\n")
                length = re.search(rb"Content-Length: *(\d+)", head)
                if len(rest) < (body := int(length[1]) if length else 0):
                    break  # what a client announces is not all there yet
                buffer = rest[body:]
                method = self._answer(head.decode())
                fake.recording = fake.recording or method == "RECORD"
                if method == "PLAY":
                    return self._play(fake)

    def _answer(self, head: str) -> str:
        method = head.split()[0]
        sequence = re.search(r"CSeq: *(\d+)", head, re.IGNORECASE)
        status, extra, body = 200, "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, RECORD, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            status, body = self.server.fake.status, _SDP
            extra = "Content-Type: application/sdp\r\n"
            if status == 401:
                extra += 'WWW-Authenticate: Basic realm="fake"\r\n'
        elif method == "SETUP":
            wanted = re.search(r"client_port=(\d+)", head)
            self.port = int(wanted[1]) if wanted else None
            if ("udp" if wanted else "tcp") not in self.server.fake.transports:
                status = 461
            else:
                offered = (
                    f"RTP/AVP;unicast;client_port={self.port}-{self.port + 1}"
                    if self.port
                    else "RTP/AVP/TCP;unicast;interleaved=0-1"
                )
                extra = f"Session: 1\r\nTransport: {offered}\r\n"
        elif method in ("PLAY", "RECORD"):
            extra = "Session: 1\r\n"
        reply = f"RTSP/1.0 {status} OK\r\nCSeq: {sequence[1] if sequence else 0}\r\n{extra}"
        self.request.sendall(f"{reply}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return method

    def _play(self, fake: FakeRTSP) -> None:
        fake.plays += 1
        self.request.settimeout(10)
        start_s = time.monotonic()
        for sequence, position in enumerate(range(0, len(fake.stream), _CHUNK)):
            if fake.close_after is not None and position >= fake.close_after:
                return
            if fake.stall_after is not None and position >= fake.stall_after:
                fake.stopped.wait()
            due_s = start_s + fake.duration_s * position / len(fake.stream)
            if fake.stopped.wait(max(0.0, due_s - time.monotonic())):
                return
            packet = struct.pack(">BBHII", 0x80, 33, sequence & 0xFFFF, sequence * 3000, 7)
            packet += fake.stream[position : position + _CHUNK]
            if self.port is None:
                self.request.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            else:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                    datagrams.sendto(packet, ("127.0.0.1", self.port))
