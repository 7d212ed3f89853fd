"""Sinks without a codec: raw frames on stdout, nothing at all, and several sinks as one."""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
from collections.abc import Callable, Mapping

import numpy as np

from p2p_runtime.errors import OutputError, SinkError, count_of
from p2p_runtime.files import reason
from p2p_runtime.prefetch import POLL_S
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo

from .output_lock import require_shape

__all__ = ["NullSink", "PipeSink", "TeeSink"]

_log = logging.getLogger(__name__)


class NullSink(FrameSink):
    """Discards frames: for measurements, and for runs that only show a window."""

    def write(self, task: FrameTask) -> None:
        """Do nothing."""


class PipeSink(FrameSink):
    """Writes each frame's pixels, (H, W, 3) uint8 BGR, row by row and without a header.

    ``descriptor`` is where to write, by default stdout. A terminal raises a SinkError.
    """

    def __init__(
        self,
        video: VideoInfo,
        descriptor: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._shape, self._written, self._cut = (video.height, video.width, 3), 0, 0
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._stopping = stopping
        if os.isatty(self._descriptor):
            raise SinkError("stdout is a terminal; pipe --output - into a program, or a file")
        self._own = _reopened(self._descriptor)
        if self._own is not None:
            self._descriptor = self._own
        # Of a pipe that may block, no more than this is sure to be taken when it is writable.
        blocks = self._own is None and not stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._piece = select.PIPE_BUF if blocks else 1 << 20

    def write(self, task: FrameTask) -> None:
        """Write one frame, or wait; raise a BrokenPipeError once the pipe's reader has ended.

        The wait ends when the run is told to stop; the frame is then cut short.
        """
        image = task.image
        require_shape(image, self._shape, "stdout")
        rest = np.ascontiguousarray(image).data.cast("B")
        try:
            while rest:
                if select.select([], [self._descriptor], [], POLL_S)[1]:
                    rest = rest[os.write(self._descriptor, rest[: self._piece]) :]
                elif self._stopping():
                    self._cut += 1
                    _log.warning("stdout: its reader takes nothing; the last frame is cut short")
                    return
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(
                f"cannot write to stdout: {reason(error)}; "
                f"{count_of(self._written, 'frame')} written before"
            ) from error
        self._written += 1

    def close(self) -> None:
        """Close what was opened here; stdout belongs to the process."""
        if self._own is not None:
            os.close(self._own)
            self._own = None

    def abort(self) -> None:
        """Do the same."""
        self.close()

    def losses(self) -> dict[str, int]:
        """Return the frame that was cut short, if any."""
        return {"stdout": self._cut} if self._cut else {}


def _reopened(descriptor: int) -> int | None:
    """Open a pipe once more, so that writes return at once; None where that cannot be.

    The flag would hold for all who share the descriptor, so it needs one of its own.
    """
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return None
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # no /proc, no permission, or no reader, which the first write tells
        return None


class TeeSink(FrameSink):
    """Writes every frame to all of its sinks; one that fails is told, and the others go on.

    The last one that fails raises its error.
    """

    def __init__(self, sinks: Mapping[str, FrameSink]) -> None:
        """Take sinks by their names for logs and reports."""
        self._sinks, self._missed = dict(sinks), dict[str, int]()

    def write(self, task: FrameTask) -> None:
        """Write one frame to each."""
        for name in self._missed:
            self._missed[name] += 1
        for name, sink in list(self._sinks.items()):
            try:
                sink.write(task)
            except (OutputError, BrokenPipeError) as error:
                del self._sinks[name]
                sink.abort()
                if not self._sinks:
                    raise
                self._missed[name] = sink.losses().get(name, 0) + 1
                _log.error("%s; the other outputs go on", error if str(error) else name)

    def close(self) -> None:
        """Finish and check all of them; the error, if any, has every reason."""
        errors = []
        for sink in self._sinks.values():
            try:
                sink.close()
            except OutputError as error:
                errors.append(error)
        if errors:
            raise SinkError("; ".join(map(str, errors))) from errors[0]

    def abort(self) -> None:
        """Finish all of them as far as possible."""
        for sink in self._sinks.values():
            sink.abort()

    def losses(self) -> dict[str, int]:
        """Return how many frames each of them did not get, where any."""
        found = dict(self._missed)
        for sink in self._sinks.values():
            found |= sink.losses()
        return found
