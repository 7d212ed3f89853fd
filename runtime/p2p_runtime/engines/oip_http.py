"""One connection to a model server: HTTP/1.1, with tensors as raw bytes.

Whatever the server sends is bounded, in size and in time. Over gRPC a frame took as much of the
client's CPU time, and would take a package of its own.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import re
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.documents import parse_json
from p2p_runtime.errors import ConfigError, ContractError, ServerError
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME
from p2p_runtime.redaction import redact

__all__ = ["BusyError", "Connection", "ServerAddress", "printable"]

CONNECT_S, MAX_DOCUMENT_BYTES = 5.0, 1 << 20
"""Seconds in which a server has to take a connection, and maximum size of what it states."""

_PORTS = {"oip": 8000, "oips": 443}
_ADDRESS = re.compile(
    r"(oips?)://(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::([0-9]{1,5}))?/([\w.-]+)(?:/([\w.-]+))?",
    re.ASCII,
)
_LENGTH_FIELD = "Inference-Header-Content-Length"


class BusyError(Exception):
    """The server says that it has too much to do."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A model on a server, and the path that the protocol gives it there."""

    url: str
    tls: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """Take ``oip[s]://host[:port]/model[/version]`` apart, or raise a ConfigError."""
        found = _ADDRESS.fullmatch(url)
        port = 0 if found is None else int(found[4] or _PORTS[found[1]])
        if found is None or not 0 < port < 1 << 16:
            raise ConfigError(
                f"--device {redact(url)} is no model on a server; write oip://HOST:8000/MODEL or "
                "oip://HOST:8000/MODEL/VERSION, oips:// for TLS; set P2P_DEVICE_TOKEN for a token"
            )
        path = f"/v2/models/{found[5]}" + (f"/versions/{found[6]}" if found[6] else "")
        return cls(url, found[1] == "oips", found[2] or found[3], port, path)


class Connection:
    """A connection, for one request at a time; made when the first is sent.

    Its methods take the ``time.monotonic()`` by which the whole answer must be there. They raise a
    BusyError, a ServerError, a ConfigError (of the token), a ContractError (of the answer), or what
    Python raises where a connection fails.
    """

    def __init__(
        self, address: ServerAddress, context: ssl.SSLContext | None, token: str | None
    ) -> None:
        self._address, self._numbers, self._interrupted = address, itertools.count(), False
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._response: http.client.HTTPResponse | None = None
        place = (address.host, address.port)
        self._http = http.client.HTTPConnection(*place, timeout=CONNECT_S)
        if context is not None:
            self._http = http.client.HTTPSConnection(*place, timeout=CONNECT_S, context=context)

    @property
    def is_open(self) -> bool:
        """Whether another request can be sent."""
        return self._http.sock is not None and not self._interrupted

    def interrupt(self) -> None:
        """End the request that runs, and let no other begin; may be called from any thread."""
        self._interrupted = True
        if (connected := self._http.sock) is not None:
            with suppress(OSError):  # its other end was quicker
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        if self._response is not None:
            self._response.close()  # it may hold the socket
        self._http.close()

    def describe(self, end_s: float) -> dict[str, Any]:
        """Return what the server states of the model; Triton's configuration is ``config``."""

        def read(path: str) -> dict[str, Any]:
            content = self._request("GET", path, end_s).read(MAX_DOCUMENT_BYTES)
            return dict(parse_json(content))

        stated = read(self._address.path)
        with suppress(ServerError):  # an extension that other servers lack
            stated["config"] = read(f"{self._address.path}/config")
        return stated

    def infer(self, frames: NDArray[np.uint8], end_s: float) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR."""
        frames = np.ascontiguousarray(frames)
        request_id, size = str(next(self._numbers)), {"binary_data_size": frames.nbytes}
        tensor = {"datatype": "UINT8", "shape": list(frames.shape)}
        inputs = [tensor | {"name": INPUT_NAME, "parameters": size}]
        outputs = [{"name": OUTPUT_NAME, "parameters": {"binary_data": True}}]
        header = json.dumps({"id": request_id, "inputs": inputs, "outputs": outputs}).encode()
        fields = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(header) + frames.nbytes),
            _LENGTH_FIELD: str(len(header)),
        }
        path, pixels = f"{self._address.path}/infer", frames.data.cast("B")
        response = self._request("POST", path, end_s, header, pixels, **fields)
        _check_header(response, request_id, frames)
        content = response.read(frames.nbytes + 1)
        if len(content) != frames.nbytes:
            raise ContractError(f"{len(content)} bytes follow, not {frames.nbytes}")
        return np.frombuffer(content, np.uint8).reshape(frames.shape).copy()

    def _request(
        self, method: str, path: str, end_s: float, *body: bytes | memoryview, **fields: str
    ) -> http.client.HTTPResponse:
        """Send a request, and return the response if that is a good one."""
        if self._http.sock is None:
            self._http.connect()
        if self._interrupted:  # asked after there is a socket: either side sees the other
            raise ConnectionAbortedError("interrupted")
        self._http.sock.settimeout(max(end_s - time.monotonic(), 0.001))
        self._http.response_class = lambda connected, **other: http.client.HTTPResponse(  # type: ignore[assignment]  # it makes one
            _Until(connected, end_s), **other  # type: ignore[arg-type]  # all that one needs
        )  # fmt: skip
        self._http.request(method, path, body or None, self._headers | fields)
        self._response = response = self._http.getresponse()
        if response.status == 200:
            return response
        content = response.read(4096)
        if not response.isclosed():
            self.close()  # there is more of it
        with suppress(ContractError, KeyError):  # not all servers keep to the protocol in this
            content = str(parse_json(content)["error"]).encode()
        told = f"{self._address.url}: HTTP {response.status} {printable(content)}".rstrip()
        if response.status in (429, 503):  # too many requests, unavailable
            raise BusyError(told)
        if response.status in (401, 403):  # unauthorised, forbidden
            raise ConfigError(f"{told}; give a token that it takes, P2P_DEVICE_TOKEN")
        raise ServerError(told)


class _Until(io.RawIOBase):
    """Reads a socket until a point in time, however slowly something comes."""

    def __init__(self, connected: socket.socket, end_s: float) -> None:
        self._connected, self._end_s = connected, end_s
        self._raw = connected.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if (left_s := self._end_s - time.monotonic()) <= 0:
            raise TimeoutError
        self._connected.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _check_header(
    response: http.client.HTTPResponse, request_id: str, frames: NDArray[np.uint8]
) -> None:
    """Read the JSON before the pixels, and compare it with what must be."""
    if not re.fullmatch("[0-9]{1,5}", length := response.headers.get(_LENGTH_FIELD, "")):
        raise ContractError(
            "it has no binary tensors, an extension of the protocol that is needed here "
            f"({_LENGTH_FIELD}: {printable(length.encode()) or 'missing'})"
        )
    document = parse_json(response.read(int(length)))
    if document.get("id", request_id) != request_id:
        raise ContractError("it belongs to another request")
    outputs = document.get("outputs")
    said: list[Any] = []
    with suppress(TypeError, ValueError, KeyError):
        (output,) = outputs
        said = [output[name] for name in ("name", "datatype", "shape")]
        said.append(output["parameters"]["binary_data_size"])
    if said != (wanted := [OUTPUT_NAME, "UINT8", [*frames.shape], frames.nbytes]):
        found = printable(json.dumps(outputs).encode())
        raise ContractError(f"it should hold {wanted}, not {found}")


def printable(content: bytes) -> str:
    """Return what a server said for a message: one line, of at most 200 characters."""
    text = content.decode(errors="replace")[:200]
    return "".join(one if one.isprintable() else " " for one in text).strip()
