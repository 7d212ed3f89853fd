"""The fixtures of the runtime's tests."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from p2p_runtime.video.live import LiveSource
from p2p_runtime.video.live.capture import Attempt


@pytest.fixture
def soon_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection counts as stalled after a 20th of the time, but opens as slowly as it must."""
    silent_s = LiveSource._silent_s

    def hurried_s(source: LiveSource, attempt: Attempt) -> float:
        opening = source._frames is None or source._gap
        return 0 if opening else 20 * silent_s(source, attempt)

    monkeypatch.setattr(LiveSource, "_silent_s", hurried_s)


@pytest.fixture
def tls_identity(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """What a TLS server on localhost needs, and the file of its self-signed certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
