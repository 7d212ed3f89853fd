"""Several sinks as one, and none at all."""

from __future__ import annotations

from collections.abc import Sequence

from p2p_runtime.errors import SinkError
from p2p_runtime.video.frames import FrameSink, FrameTask

__all__ = ["NullSink", "TeeSink"]


class NullSink:
    """Discards frames: for measurements, and for runs that only show a window."""

    def write(self, task: FrameTask) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


class TeeSink:
    """Writes every frame to all of its sinks; the first that fails ends the run."""

    def __init__(self, sinks: Sequence[FrameSink]) -> None:
        self._sinks = tuple(sinks)

    def write(self, task: FrameTask) -> None:
        """Write one frame to each; when one fails, those before it have the frame."""
        for sink in self._sinks:
            sink.write(task)

    def close(self) -> None:
        """Finish and check all of them; the error, if any, has every reason."""
        errors = []
        for sink in self._sinks:
            try:
                sink.close()
            except SinkError as error:
                errors.append(error)
        if errors:
            raise SinkError("; ".join(map(str, errors))) from errors[0]

    def abort(self) -> None:
        """Finish all of them as far as possible."""
        for sink in self._sinks:
            sink.abort()
