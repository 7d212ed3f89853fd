"""Nowhere as a sink, for measurements and for runs that only show a window."""

from __future__ import annotations

from p2p_runtime.video.frames import Frame

__all__ = ["NullSink"]


class NullSink:
    """Takes frames and forgets them."""

    def write(self, frame: Frame) -> None:
        """Forget a frame."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""
