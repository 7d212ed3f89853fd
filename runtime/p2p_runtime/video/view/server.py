"""The web server of the page: a few addresses, read only, with bounds on what a client may cost."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import logging
import os
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from p2p_runtime.documents import ASSETS
from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason

from .access import Access
from .screen import Screen, ShownFrame

__all__ = ["Server"]

MAX_CONNECTIONS = 32
MAX_HEAD = 16_384
"""Maximum number of bytes of a request."""

HEAD_S = 5.0
"""Longest time in seconds for a request to be there, from the end of the one before."""

SEND_S = 5.0
"""Longest time in seconds for an answer to be taken."""

WAIT_S = 1.0
"""Longest time in seconds that a request waits for a frame."""

CLOSE_S = 0.5

NICENESS = 10
"""Niceness of the threads that encode and send: about a tenth of the run's share of a busy core."""

_COMMON = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NONE: Mapping[str, str] = {}
_BOUNDARY = "frame"
_TEXT = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


class Server(socketserver.ThreadingTCPServer):
    """Listens at once; answers, a thread for each connection, until it is closed.

    Port 0 is any free one. ``figures`` and ``metrics`` return what ``/stats`` and ``/metrics``
    answer; they are told the number of viewers.

    Raises:
        SinkError: the port is taken, or the host is not this machine's.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(
        self,
        host: str,
        port: int,
        token: str | None,
        screen: Screen,
        figures: Callable[[int], dict[str, Any]],
        metrics: Callable[[int], str],
    ) -> None:
        access = Access.make(host, port, token)
        self.screen, self.figures, self.metrics = screen, figures, metrics
        self._open: set[socket.socket] = set()
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = found[0]
            super().__init__(found[4], _Handler)  # type: ignore[arg-type]  # what getaddrinfo gave
        except OSError as error:
            raise SinkError(
                f"cannot show frames at {host}:{port}: {reason(error)}; give --view another "
                "address, or port 0 for any free one"
            ) from error
        self.access = replace(access, port=self.server_address[1])
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="view", daemon=True
        )
        self._thread.start()

    @property
    def viewers(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def close(self) -> None:
        """End all connections."""
        self.screen.close()
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # a last answer may be under way
        end_s = time.monotonic() + CLOSE_S
        while self._open and time.monotonic() < end_s:
            time.sleep(0.005)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or refuse one too many."""
        if len(self._open) < MAX_CONNECTIONS:
            self._open.add(request)
            super().process_request(request, client_address)
            return
        request.settimeout(0)
        with contextlib.suppress(OSError):
            request.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nConnection: close\r\n\r\n")
        self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell what failed; a client that goes, or is too slow, is no failure."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.error("the page failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "p2p-run", ""
    disable_nagle_algorithm = True  # else each answer waits for the client's delayed ACK

    def setup(self) -> None:
        # Of this thread, on Linux: where the cores are busy, viewers wait, not the run.
        os.nice(NICENESS)
        super().setup()
        self.rfile.close()
        self._received = b""

    def handle_one_request(self) -> None:
        """Answer a request that is there as a whole, in time and not too long."""
        self.requestline, self.request_version, self.command = "", self.protocol_version, ""
        end_s = time.monotonic() + HEAD_S
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > MAX_HEAD:
                self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
            self.connection.settimeout(max(end_s - time.monotonic(), 1e-3))
            piece = self.connection.recv(MAX_HEAD)
            if not piece:
                self.close_connection = True
                return
            self._received += piece
        self.rfile = io.BytesIO(self._received[: end + 4])
        self._received = self._received[end + 4 :]
        self.connection.settimeout(SEND_S)
        super().handle_one_request()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        try:
            values = dict(parse_qsl(query, max_num_fields=8))
            self._after = int(values.get("after", -1))
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        self._values = values
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif refusal := self.server.access.refuses(self.headers, values.get("token")):
            self.send_error(*refusal)
        elif (answer := _ANSWERS.get(path)) is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            answer(self)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request in a line of plain text, and close the connection."""
        self.close_connection = True
        text = message or HTTPStatus(code).phrase
        asks = {"WWW-Authenticate": "Bearer"} if code == HTTPStatus.UNAUTHORIZED else {}
        self._answer(f"{text}\n".encode(), _TEXT, asks, code)

    def log_message(self, *anything: object) -> None:
        """Log nothing: addresses may hold the token."""

    def _answer(
        self, body: bytes, kind: str, headers: Mapping[str, str] = _NONE, code: int = 200
    ) -> None:
        self._begin(kind, headers, code)
        if code != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _begin(self, kind: str, headers: Mapping[str, str] = _NONE, code: int = 200) -> None:
        self.send_response(code)
        for name, value in {**_COMMON, "Content-Type": kind, **headers}.items():
            self.send_header(name, value)

    def _page(self) -> None:
        content, policy = _page()
        cookie = self.server.access.set_cookie(self._values.get("token"))
        headers = {"Content-Security-Policy": policy, "Cross-Origin-Opener-Policy": "same-origin"}
        headers |= {} if cookie is None else {"Set-Cookie": cookie}
        self._answer(content, "text/html; charset=utf-8", headers)

    def _stats(self) -> None:
        body = json.dumps(self.server.figures(self.server.viewers)).encode()
        self._answer(body, "application/json")

    def _metrics(self) -> None:
        body = self.server.metrics(self.server.viewers).encode()
        self._answer(body, "text/plain; version=0.0.4; charset=utf-8")

    def _frame(self) -> None:
        """Answer with a frame that the client has not, as soon as there is one."""
        self._give(self.server.screen.wait(self._after, WAIT_S))

    def _newest(self) -> None:
        self._give(self.server.screen.newest)

    def _give(self, frame: ShownFrame | None) -> None:
        if self.server.screen.closed:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "the run has ended")
            return
        if frame is None:
            self._answer(b"", _TEXT, code=HTTPStatus.NO_CONTENT)
            return
        first = frame.jpeg(of_input=True) if "input" in self._values else b""
        body = first + frame.jpeg()
        headers = {
            "X-Frame": str(frame.number),
            "X-Timestamp-S": f"{frame.timestamp_s:.3f}",
            "X-Latency-Ms": f"{frame.latency_ms:.2f}",
            "X-Age-Ms": f"{(time.perf_counter() - frame.shown_s) * 1e3:.2f}",
            "X-Input-Bytes": str(len(first)),
        }
        self._answer(body, "application/octet-stream" if first else "image/jpeg", headers)

    def _mjpeg(self) -> None:
        """Send frames until the client goes; while there is no new one, the last one again."""
        self.close_connection = True
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        self._begin(kind, {"Connection": "close"})
        self.end_headers()
        screen, number = self.server.screen, -1
        while not screen.closed:
            if frame := screen.wait(number, WAIT_S) or screen.newest:
                number, body = frame.number, frame.jpeg()
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}"
                self.wfile.write(head.encode() + b"\r\n\r\n" + body + b"\r\n")


_ANSWERS: dict[str, Callable[[_Handler], None]] = {
    "/": _Handler._page,
    "/frame": _Handler._frame,
    "/frame.jpg": _Handler._newest,
    "/mjpeg": _Handler._mjpeg,
    "/stats": _Handler._stats,
    "/metrics": _Handler._metrics,
}


@cache
def _page() -> tuple[bytes, str]:
    """Return the page, and the policy under which a browser runs nothing else than that."""
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    page = page.replace("$style", style)
    hashes = {
        tag: base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        for tag in ("script", "style")
        if (found := re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL))
    }
    allowed = "".join(f" {tag}-src 'sha256-{value}';" for tag, value in hashes.items())
    policy = f"default-src 'none'; connect-src 'self'; img-src data:;{allowed}"
    return page.encode(), f"{policy} base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
