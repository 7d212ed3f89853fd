"""URLs and their secrets: logs, errors and reports hide them, whatever they hold."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

__all__ = ["redact", "split_url"]

_ESCAPES = "a port is below 65536, and in a password, / # ? @ are written %2F %23 %3F %40"
"""What to do about a URL that cannot be taken apart; Python's own message quotes the password."""

_NO_USUAL_PORT = ("udp", "tcp", "srt")
"""Schemes whose URLs need a port. FFmpeg waits at none, or sends to none, without a word."""

_END = r"(?=['\"]?[:;,)]*(?:\s|$))"
"""Where a word of a sentence ends, without the sentence's own marks."""

_CREDENTIALS = re.compile(
    r"([a-z][a-z0-9+.-]*://)(?:[^\s@:]*:(?:(?!\s\S*://)[^\n])*|[^/?#\s]*)@", re.IGNORECASE
)
"""A password may hold ``/ # ? @ :`` and blanks, so it reaches to the last ``@`` before another URL.
Without a colon there is only a name, which reaches to the path."""

_QUERY = re.compile(rf"(://[^\s?]*\?)(\S+?){_END}")
_VALUE = re.compile(r"(?<==)[^&]+")
"""Any value of a query may be a signature or a key; the names tell enough."""

_STREAM_KEY = re.compile(rf"(rtmp\w*://[^\s/]+/[^\s/]+/)\S+?{_END}", re.IGNORECASE)
"""What follows server and application is the key with which anybody may send."""

_NAMED = re.compile(
    r"((?:pass\w*|pwd|auth|sig|\b[\w-]*(?:token|key|secret|signature))=)"
    rf"(?:[^\s&]+(?=&[\w-]+=)|\S+?{_END})",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return a text without secrets: ``rtsp://***@camera/?token=***``, ``rtmp://server/app/***``.

    What cannot be told from a secret is hidden, too: ``http://host:80/me@home``.
    """
    text = _STREAM_KEY.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))
    text = _QUERY.sub(lambda found: found[1] + _VALUE.sub("***", found[2]), text)
    return _NAMED.sub(r"\1***", text)


def split_url(text: str, fault: type[Exception]) -> SplitResult:
    """Take a URL apart; a ``fault`` says, without secrets, why that cannot be done."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise fault(f"{redact(text)!r} is not a URL; {_ESCAPES}") from error
    if port is None and parts.scheme in _NO_USUAL_PORT:
        raise fault(f"{redact(text)!r} has no port; write {parts.scheme}://host:port")
    return parts
