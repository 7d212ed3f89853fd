"""A model server of the Open Inference Protocol v2, such as Triton: ``oip://host:8000/model``.

A model has no state, so a request whose answer was lost is sent again.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import BundleError, ConfigError, ContractError, EngineError, ServerError
from p2p_runtime.files import reason
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle
from p2p_runtime.prefetch import growing_delays_s
from p2p_runtime.tls import DISTRUST, tls_context

from .base import ServerOptions, replay_golden
from .oip_http import BusyError, Connection, ServerAddress, printable

__all__ = ["OipEngine"]

FINGERPRINT = "p2p_sha256"
"""Parameter of a model that ``p2p-export --triton`` wrote: the SHA-256 of its bundle."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 1.0
"""Bounds of the waits after a server said that it is busy."""

_log = logging.getLogger(__name__)


class OipEngine:
    """A model on a server; each thread in :meth:`infer` has a connection of its own.

    A connection is checked before its first frame: the server must state the input and output of
    the contract, and the fingerprint of the bundle. Where it states none, the golden frame is
    translated over the connection.
    """

    restarts = 0

    def __init__(self, bundle: ModelBundle, url: str, options: ServerOptions) -> None:
        self.device, self._bundle, self._options = url, bundle, options
        self._address = ServerAddress.parse(url)
        self._context = tls_context() if self._address.tls else None
        far = self._address.host not in ("localhost", "127.0.0.1", "::1")
        if options.token is not None and self._context is None and far:
            raise ConfigError(f"{url}: others could read the token on its way; write oips://")
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._lock, self._interrupted = threading.Lock(), threading.Event()

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, see :class:`p2p_runtime.engines.base.Engine`.

        Raises:
            EngineError: there is no answer in time, or one that is none; often a ServerError.
            BundleError, ConfigError: it has another model, refuses the token, is not trusted.
        """
        end_s = time.monotonic() + self._options.deadline_s
        delays_s = growing_delays_s(FIRST_DELAY_S, LONGEST_DELAY_S)
        while True:
            try:
                return self._infer(frames, end_s)
            except BusyError as busy:
                if time.monotonic() + (delay_s := next(delays_s)) > end_s:
                    raise ServerError(str(busy)) from busy
                self._interrupted.wait(delay_s)

    def interrupt(self) -> None:
        """Let every :meth:`infer`, now and later, end with an error."""
        self._interrupted.set()
        with self._lock:
            for connection in self._all:
                connection.interrupt()

    def close(self) -> None:
        """Close the connections."""
        self.interrupt()
        while self._idle:
            self._idle.pop().close()

    def _infer(self, frames: NDArray[np.uint8], end_s: float) -> NDArray[np.uint8]:
        """Translate over a checked connection that no other thread has, and keep it if it works."""
        with self._lock:
            if self._interrupted.is_set():
                raise EngineError(f"{self.device}: the request was interrupted")
            known = self._idle.pop() if self._idle else None
            connection = known or Connection(self._address, self._context, self._options.token)
            self._all.add(connection)
        checked, keep = known is not None, False
        try:
            if not checked:
                self._check(connection, end_s)
                checked = True
            images = connection.infer(frames, end_s)
            keep = True
            return images
        except BusyError:
            keep = checked
            raise
        except ContractError as error:
            raise EngineError(f"{self.device} gives no good answer: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            if known is not None and isinstance(error, ConnectionError):
                raise BusyError(f"{self.device}: {error}") from error  # it waited for too long
            raise self._lost(error, late=time.monotonic() >= end_s) from error
        finally:
            with self._lock:
                keep = keep and connection.is_open
                (self._idle.append if keep else self._all.discard)(connection)
            if not keep:
                connection.close()

    def _lost(self, error: OSError | http.client.HTTPException, *, late: bool) -> Exception:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ConfigError(f"{self.device}: {DISTRUST.format(error.verify_message)}")
        if self._interrupted.is_set():
            return EngineError(f"{self.device}: the request was interrupted")
        why = printable(reason(error).encode()) or type(error).__name__
        if late:
            why = f"no answer within {self._options.deadline_s:g} s, --stall-timeout"
        return ServerError(f"{self.device}: {why}")

    def _check(self, connection: Connection, end_s: float) -> None:
        """Compare the server's model with the bundle."""
        stated, bundle = connection.describe(end_s), self._bundle
        other = f"{self.device} is not {bundle.path}"
        sides = [bundle.contract.height, bundle.contract.width, 3]
        for what, name in (("inputs", INPUT_NAME), ("outputs", OUTPUT_NAME)):
            if not _is_picture(stated.get(what), name, sides):
                found = printable(json.dumps(stated.get(what)).encode())
                raise BundleError(
                    f"{other}: {what} should be {name} UINT8 {[-1, *sides]}, not {found}"
                )
        theirs = None
        with suppress(TypeError, KeyError):  # other servers have no such extension
            theirs = str(stated["config"]["parameters"][FINGERPRINT]["string_value"])
        if theirs is None:
            _log.warning("%s states no %s; the golden frame must do", self.device, FINGERPRINT)
            replay_golden(bundle, self.device, lambda frame: connection.infer(frame, end_s))
        elif theirs != bundle.sha256:
            raise BundleError(
                f"{other}: its SHA-256 is {printable(theirs.encode())[:12]}, that of the file "
                f"{str(bundle.sha256)[:12]}; name the file that is served with --model"
            )


def _is_picture(ports: Any, name: str, sides: list[int]) -> bool:
    """Tell whether a server's inputs or outputs are one picture, of any batch."""
    with suppress(TypeError, ValueError, KeyError):
        (port,) = ports
        batch, *rest = port["shape"]
        said = (port["name"], port["datatype"], rest)
        return said == (name, "UINT8", sides) and batch in (-1, 1)
    return False
