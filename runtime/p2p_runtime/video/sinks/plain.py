"""Sinks without a codec: raw frames on stdout, nothing at all, and several sinks as one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import numpy as np

from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason
from p2p_runtime.video.frames import FrameSink, FrameTask, VideoInfo

from .output_lock import require_shape

__all__ = ["NullSink", "PipeSink", "TeeSink"]


class NullSink(FrameSink):
    """Discards frames: for measurements, and for runs that only show a window."""

    def write(self, task: FrameTask) -> None:
        """Do nothing."""


class PipeSink(FrameSink):
    """Writes each frame's pixels, (H, W, 3) uint8 BGR, row by row and without a header.

    ``descriptor`` is where to write, by default stdout. A terminal raises a SinkError.
    """

    def __init__(self, video: VideoInfo, descriptor: int | None = None) -> None:
        self._shape, self._written = (video.height, video.width, 3), 0
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        if os.isatty(self._descriptor):
            raise SinkError("stdout is a terminal; pipe --output - into a program, or a file")

    def write(self, task: FrameTask) -> None:
        """Write one frame, or wait; raise a BrokenPipeError once the pipe's reader has ended."""
        image = task.image
        require_shape(image, self._shape, "stdout")
        rest = np.ascontiguousarray(image).data.cast("B")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(
                f"cannot write to stdout: {reason(error)}; {self._written} frames were written"
            ) from error
        self._written += 1


class TeeSink(FrameSink):
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
