"""Whether servers must prove who they are: always, unless ``P2P_INSECURE`` is 1."""

from __future__ import annotations

import functools
import logging
import os
import socket
import ssl
from urllib.parse import urlsplit

__all__ = [
    "DISTRUST", "TLS_PORTS", "allow_insecure", "certificate_fault", "check_certificate",
    "tls_context", "verified_tls",
]  # fmt: skip

INSECURE = "P2P_INSECURE"
"""Variable that ``--insecure`` sets; the processes that push inherit it."""

DISTRUST = "its certificate is refused, {}; --insecure trusts any server"

TLS_PORTS = {"https": 443, "rtsps": 322, "rtmps": 443}
"""Default port by scheme."""

_log = logging.getLogger(__name__)


def allow_insecure() -> None:
    """Let this process and those that it starts trust any server."""
    os.environ[INSECURE] = "1"


def verified_tls() -> dict[str, str]:
    """Return FFmpeg's options by which certificates are checked, before anything is sent."""
    if os.environ.get(INSECURE) == "1":
        _tell_insecure()
        return {"tls_verify": "0"}  # FFmpeg 9 verifies unless it is told not to
    authorities = ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE names another file
    return {"tls_verify": "1"} | ({"ca_file": authorities} if authorities else {})


class UntrustedError(OSError):
    """Says why a server is not trusted; FFmpeg only fails."""


def check_certificate(connection: socket.socket, host: str) -> None:
    """Raise an UntrustedError if a server is not trusted."""
    if os.environ.get(INSECURE) == "1":
        return
    try:
        ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        raise UntrustedError(DISTRUST.format(error.verify_message)) from error


def tls_context() -> ssl.SSLContext:
    """Return Python's settings by which certificates are checked."""
    context = ssl.create_default_context()
    if os.environ.get(INSECURE) == "1":
        _tell_insecure()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def certificate_fault(url: str, timeout_s: float) -> str | None:
    """Return why the server of a URL is not trusted; None if that is not what is wrong."""
    parts = urlsplit(url)
    if parts.scheme in TLS_PORTS and parts.hostname:
        try:
            address = (parts.hostname, parts.port or TLS_PORTS[parts.scheme])
            with socket.create_connection(address, timeout_s) as probe:
                check_certificate(probe, parts.hostname)
        except UntrustedError as error:
            return str(error)
        except OSError:
            return None
    return None


@functools.cache
def _tell_insecure() -> None:
    """Warn once, since the variable may be left from another day."""
    _log.warning("any server is trusted, since --insecure was given, or %s is 1", INSECURE)
