"""Where the page is served, and who may look."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from p2p_runtime.errors import ConfigError

__all__ = ["Access", "parse_address"]

LOOPBACK = "127.0.0.1"
SHORTEST_TOKEN = 8


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``[HOST:]PORT``; raise a ConfigError for anything else."""
    match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[\w.-]+):)?(\d{1,5})", text)
    if match is None or int(match[2]) > 65535:
        raise ConfigError(f"--view {text} is no [HOST:]PORT; write it like 8080 or 0.0.0.0:8080")
    return (match[1] or LOOPBACK).strip("[]"), int(match[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Decides about each request.

    Attributes:
        host, port: where the server listens, as it was named.
        token: what every request has to show; None for this machine's own users.
    """

    host: str
    port: int
    token: str | None

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds the token: browsers send it to other ports, too."""
        return f"p2p-view-{self.port}"

    @property
    def url(self) -> str:
        """The page's address, without the token."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @classmethod
    def make(cls, host: str, port: int, token: str | None) -> Access:
        """Return the rules for an address; a host that others reach gets a token if it has none.

        Raises:
            ConfigError: the token is short, or has characters that no address has.
        """
        if token is not None and not re.fullmatch(r"[\w.~-]+", token, re.ASCII):
            raise ConfigError("--view-token takes letters, digits and - . _ ~")
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise ConfigError(f"--view-token needs {SHORTEST_TOKEN} characters or more")
        if token is None and not _is_loopback(host):
            token = secrets.token_urlsafe(16)
        return cls(host=host, port=port, token=token)

    def refuses(self, headers: Message, given: str | None) -> tuple[int, str] | None:
        """Return status and reason why a request is refused; None for one that is not.

        Args:
            headers: of the request.
            given: the token in its address, if any.
        """
        hosts = headers.get_all("Host", [])
        if len(hosts) != 1 or not self._is_named(hosts[0]):
            return 403, "this address is not served under that name"
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none")
        opened = headers.get("Sec-Fetch-Dest") == "document"
        elsewhere = site not in ("none", "same-origin") and not opened
        if elsewhere or (origin is not None and origin != f"http://{hosts[0]}"):
            return 403, "other pages may not use this one"
        if self.token is None or any(map(self._is_token, (given, *self._shown(headers)))):
            return None
        return 401, "this page needs its token: open the address that p2p-run has printed"

    def set_cookie(self, given: str | None) -> str | None:
        """Return the cookie for a browser that came with the token in its address."""
        if self.token is None or not self._is_token(given):
            return None
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _is_named(self, host: str) -> bool:
        """Tell whether a Host header names this server: a page elsewhere may have any other name.

        A numeric address cannot be the name of such a page.
        """
        with contextlib.suppress(ValueError):
            name = urlsplit(f"//{host}").hostname or ""
            if _is_loopback(name) or name == self.host.lower():
                return True
            if not _is_loopback(self.host):
                local = socket.gethostname().lower()
                return name in (local, f"{local}.local") or bool(ipaddress.ip_address(name))
        return False

    def _is_token(self, word: str | None) -> bool:
        expected = self.token or ""
        return word is not None and secrets.compare_digest(word.encode(), expected.encode())

    def _shown(self, headers: Message) -> list[str]:
        """Return what may be the token in the headers of a request."""
        found = [headers.get("Authorization", "").removeprefix("Bearer ")]
        with contextlib.suppress(CookieError):
            cookies = SimpleCookie(headers.get("Cookie", ""))
            found += [cookies[self.cookie].value] if self.cookie in cookies else []
        return found


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
