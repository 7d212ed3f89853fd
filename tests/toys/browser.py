"""A browser without a window, driven by its DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars"
LIMIT_S = 120
"""Maximum time for anything that a page or a process is waited for; a busy machine is slow."""


class Pipes:
    """The browser's ends of its two pipes, which all its tabs share.

    Args:
        requests, answers: descriptors of the browser's pipes 3 and 4.
    """

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._buffer, self._number = b"", 0
        self.urls: dict[str, list[str]] = {}

    def call(self, session: str, method: str, values: dict[str, object]) -> dict[str, Any]:
        """Call a method of the protocol and return its result; note the requests till then."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": values}
        request |= {"sessionId": session} if session else {}
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        end_s = time.monotonic() + LIMIT_S
        while True:
            while b"\0" not in self._buffer:
                left_s = max(0.0, end_s - time.monotonic())
                if not select.select([self._answers], [], [], left_s)[0]:
                    raise TimeoutError(f"no answer within {LIMIT_S} s to {method} {values}")
                if not (piece := os.read(self._answers, 1 << 16)):
                    raise ConnectionError("the browser has ended")
                self._buffer += piece
            line, self._buffer = self._buffer.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("method") == "Network.requestWillBeSent":
                urls = self.urls.setdefault(answer["sessionId"], [])
                urls.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result


class Browser:
    """A tab of Chromium. Its requests are in the browser's own log."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes, self._session = pipes, ""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        session = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        self("Network.enable")

    def __call__(self, method: str, **values: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        return self._pipes.call(self._session, method, values)

    def another(self) -> Browser:
        """Open a further tab, before this one."""
        return Browser(self._pipes)

    @property
    def urls(self) -> list[str]:
        """What this tab has asked for until its last call, page included."""
        return self._pipes.urls.get(self._session, [])

    def open(
        self, page: Path | str, *, width_px: int, height_px: int = 900, dark: bool = False
    ) -> None:
        """Show a file or a URL in a window of this size, and wait until its pictures are loaded."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self("Page.navigate", url=page if isinstance(page, str) else page.absolute().as_uri())
        self.wait("document.readyState == 'complete'")

    def wait(self, expression: str) -> None:
        """Wait until an expression of JavaScript is true on the page."""

        def is_true() -> bool:
            with suppress(AssertionError):  # the page went away within the call
                return bool(self.value(expression))
            return False

        self.until(expression, is_true)

    def until(self, what: str, is_true: Callable[[], bool]) -> None:
        """Wait until a question is answered with yes; a late answer names it and the page."""
        end_s = time.monotonic() + LIMIT_S
        seen = False
        while not seen:
            assert time.monotonic() < end_s, (
                f"not within {LIMIT_S} s: {what}; the page: {self.value('document.body.innerText')}"
            )
            time.sleep(0.05)
            seen = is_true()

    def value(self, expression: str) -> Any:
        """Return what an expression of JavaScript, or a promise that it gives, is on the page."""
        result = self(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(picture["data"])


@contextmanager
def killed_if_late(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill a process within the block if that takes too long; what waits for it then goes on."""
    timer = threading.Timer(LIMIT_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def headless(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a profile in a folder; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(PROGRAMS)} is installed")
    (theirs_in, requests), (answers, theirs_out) = os.pipe(), os.pipe()
    command = [program, *FLAGS.split(), f"--user-data-dir={folder}", "--remote-debugging-pipe"]
    shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
    with subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(theirs_in, theirs_out),
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(Pipes(requests, answers))
        finally:
            os.close(requests)
            os.close(answers)
            process.terminate()
            with killed_if_late(process):
                process.wait()
