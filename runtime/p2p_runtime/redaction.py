"""Redaction: logs and errors hide the secrets in URLs."""

from __future__ import annotations

import re

__all__ = ["redact"]

_SECRETS = re.compile(
    r"([?&](?:[\w-]*(?:pass\w*|token|key|secret)|pwd|auth|sig|signature)=)[^&\s'\"]*", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s]*@")


def redact(text: str) -> str:
    """Return a text without the secrets of its URLs: ``rtsp://***@camera/?token=***``."""
    return _SECRETS.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))
