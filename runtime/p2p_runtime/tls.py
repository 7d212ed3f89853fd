"""Whether servers must prove who they are: always, unless ``P2P_INSECURE`` is 1."""

from __future__ import annotations

import functools
import logging
import os
import socket
import ssl

__all__ = ["allow_insecure", "check_certificate", "verified_tls"]

INSECURE = "P2P_INSECURE"
"""Variable that ``--insecure`` sets; the processes that push inherit it."""


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


def check_certificate(connection: socket.socket, host: str) -> None:
    """Raise an OSError that says why a server is not trusted; FFmpeg only fails."""
    if os.environ.get(INSECURE) == "1":
        return
    try:
        ssl.create_default_context().wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        why = f"its certificate is refused, {error.verify_message}; --insecure trusts any server"
        raise OSError(why) from error


@functools.cache
def _tell_insecure() -> None:
    """Warn once, since the variable may be left from another day."""
    _log.warning("any server is trusted, since --insecure was given, or %s is 1", INSECURE)
