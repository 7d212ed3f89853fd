"""A page on which a browser shows the frames of a run while it goes on.

The page pulls: it asks for a frame other than the one it has, and is answered as soon as there is
one. So a slow viewer sees fewer frames, never old ones, and the run waits for none.
"""

from __future__ import annotations

from p2p_runtime.labels.palette import Palette
from p2p_runtime.video.frames import FrameSource, FrameTask

from .access import parse_address
from .figures import Figures
from .screen import Screen
from .server import Server

__all__ = ["LiveView", "parse_address"]


class LiveView:
    """Serves the page from its creation on; call it with each frame that was written.

    The address is ``[HOST:]PORT``, by default of this machine alone; port 0 is any free one. Every
    request has to show the token; other hosts than this one get one if it is None.

    Raises:
        ConfigError: the address or the token is malformed.
        SinkError: the address cannot be had.
    """

    def __init__(self, address: str, token: str | None = None, *, name: str = "") -> None:
        self._name, self._figures, self._screen = name, Figures(name), Screen()
        self._server = Server(
            *parse_address(address),
            token,
            self._screen,
            lambda viewers: self._figures.to_json(self._screen.newest, viewers),
            lambda viewers: self._figures.to_prometheus(viewers),
        )
        self.url, self.token = self._server.access.url, self._server.access.token

    def begin(self, source: FrameSource, palette: Palette | None) -> None:
        """Tell of the source, which is open now, and of the classes of its frames."""
        self._figures = Figures(self._name, source, palette)

    def __call__(self, task: FrameTask) -> None:
        """Show a frame; the arrays of its output and input must not change any more."""
        self._figures.add(task)
        self._screen.show(task)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()
