"""Raw frames on stdout as a sink, for the next program in a pipe."""

from __future__ import annotations

import os
import sys

import numpy as np

from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.size_guard import require_shape

__all__ = ["PipeSink"]


class PipeSink:
    """Writes each frame's pixels, (H, W, 3) uint8 BGR, row by row and without a header.

    Args:
        width, height: size of the frames in pixels.
        descriptor: where to write; None for stdout.

    Raises:
        SinkError: stdout is a terminal.
    """

    def __init__(self, *, width: int, height: int, descriptor: int | None = None) -> None:
        self._shape, self._written = (height, width, 3), 0
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        if os.isatty(self._descriptor):
            raise SinkError("stdout is a terminal; pipe --output - into a program, or a file")

    def write(self, task: FrameTask) -> None:
        """Write one frame; wait while the pipe is full.

        Raises:
            SinkError: as for every sink.
            BrokenPipeError: the program that reads the pipe has ended.
        """
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

    def close(self) -> None:
        """Do nothing: what was written is in the pipe, and stdout belongs to the process."""

    def abort(self) -> None:
        """Do nothing, for the same reason."""
