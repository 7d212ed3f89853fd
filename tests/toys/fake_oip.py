"""A model server of the Open Inference Protocol that inverts colours, with the faults of real ones.

It speaks HTTP with binary tensors, as Triton does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from p2p_runtime.model.bundle import ModelBundle

Fault = Callable[["Handler"], bool]
"""What is done in place of an answer to a frame; True if the answer is to follow."""

_INVERTED = bytes(range(255, -1, -1))


class FakeOIP:
    """Serves a bundle as ``street``, version 1, on a port of the loopback.

    Attributes:
        faults: taken from the front, one for each request of a frame.
        headers: those of every request.
        frames: number of frames that were answered.
        stated, config: documents about the model; without a config, there is no such extension.
        most: largest number of requests at the same time.
        keep_alive: whether connections stay open.
        busy: number of next questions about the model that are not answered.
    """

    def __init__(self, bundle: Path | None, port: int = 0) -> None:
        self.faults: list[Fault] = []
        self.headers: list[dict[str, str]] = []
        self.frames = self.most = self._now = 0
        self.keep_alive, self.busy = True, 0
        self.stated: Any = {
            "name": "street",
            "inputs": [{"name": "frame", "datatype": "UINT8", "shape": [-1, 64, 64, 3]}],
            "outputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 64, 64, 3]}],
        }
        self.config: Any = None
        if bundle is not None:
            sha256 = ModelBundle.load(bundle).sha256
            self.config = {"parameters": {"p2p_sha256": {"string_value": sha256}}}
        self.lock = threading.Lock()
        self.opened: set[Any] = set()
        handler = type("Handler", (Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that left
        self.port = self._server.server_port
        self.url = f"oip://127.0.0.1:{self.port}/street"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def wrap(self, context: Any) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("oip:", "oips:").replace("127.0.0.1", "localhost")

    def close(self) -> None:
        """End at once, with all connections, as a process that was killed."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self.lock:
            for connection in self.opened:
                cut(connection)

    def __enter__(self) -> FakeOIP:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fake: FakeOIP

    def setup(self) -> None:
        super().setup()
        with self.fake.lock:
            self.fake.opened.add(self.connection)

    def finish(self) -> None:
        with self.fake.lock:
            self.fake.opened.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        self.fake.headers.append(dict(self.headers))
        path = "/v2/models/street"
        documents = {path: self.fake.stated, f"{path}/config": self.fake.config}
        documents |= {
            f"{path}/versions/1{name[len(path) :]}": documents[name] for name in documents
        }
        if self.fake.busy:
            self.fake.busy -= 1
            self.answer(503, b"")
        elif (document := documents.get(self.path)) is None:
            self.answer(404, b'{"error": "unknown model\\u001b[31m"}')
        else:
            self.answer(200, json.dumps(document).encode())

    def do_POST(self) -> None:
        self.fake.headers.append(dict(self.headers))
        content = self.rfile.read(int(self.headers["Content-Length"]))
        with self.fake.lock:
            self.fake._now += 1
            self.fake.most = max(self.fake.most, self.fake._now)
            fault = self.fake.faults.pop(0) if self.fake.faults else None
        try:
            if fault is None or fault(self):
                self.image(content)
        finally:
            with self.fake.lock:
                self.fake._now -= 1

    def image(self, content: bytes, **other: Any) -> None:
        """Answer with the inverted frame; ``other`` replaces what the answer says of it."""
        length = int(self.headers["Inference-Header-Content-Length"])
        asked, pixels = json.loads(content[:length]), content[length:].translate(_INVERTED)
        output = {
            "name": asked["outputs"][0]["name"],
            "datatype": "UINT8",
            "shape": asked["inputs"][0]["shape"],
            "parameters": {"binary_data_size": len(pixels)},
        }
        header = json.dumps({"id": asked["id"], "outputs": [output]} | other).encode()
        with self.fake.lock:
            self.fake.frames += 1
        self.answer(200, header + pixels, {"Inference-Header-Content-Length": str(len(header))})

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a response."""
        self.send_response(status)
        if not self.fake.keep_alive:
            self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        """Write nothing."""


def cut(connection: Any) -> None:
    """End a connection in the middle of whatever it does."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
