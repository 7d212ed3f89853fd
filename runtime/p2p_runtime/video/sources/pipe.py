"""Raw frames on stdin as a source, so that any segmenter can be piped in."""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from p2p_runtime.errors import SourceError
from p2p_runtime.prefetch import POLL_S
from p2p_runtime.video.frames import FrameTask

from .decode import paint_ids

if TYPE_CHECKING:
    from p2p_runtime.labels.palette import Palette

__all__ = ["PipeCapture"]

_log = logging.getLogger(__name__)


class PipeCapture:
    """Frames without a header, one after the other; see :class:`p2p_runtime.video.live.Capture`."""

    frame_count: int | None = None
    finite: bool = True

    def __init__(
        self,
        width: int,
        height: int,
        fps: float,
        ids_palette: Palette | None,
        descriptor: int | None = None,
    ) -> None:
        """Prepare the buffer; nothing is read yet.

        Args:
            width, height: size of the frames in pixels.
            fps: frames a second.
            ids_palette: a pixel is one byte, a class id to paint with these colours; None for
                three bytes, BGR.
            descriptor: where to read; None for stdin.

        Raises:
            SourceError: stdin is a terminal.
        """
        self.fps, self.frames_lost = fps, 0
        self._ids_palette = ids_palette
        self._shape = (height, width) if ids_palette else (height, width, 3)
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._buffer, self._filled = self._new_buffer(), 0
        if os.isatty(self._descriptor):
            raise SourceError("stdin is a terminal; pipe raw frames into it")

    def read(self) -> FrameTask | None:
        """Return the next frame once all of its bytes are there."""
        while self._filled < len(self._buffer):
            readable, _, _ = select.select([self._descriptor], [], [], POLL_S)
            if not readable:
                return None
            count = os.readv(self._descriptor, [memoryview(self._buffer)[self._filled :]])
            if count == 0:
                self._end()
            self._filled += count
        start_s = time.perf_counter()
        pixels = np.frombuffer(self._buffer, np.uint8).reshape(self._shape)
        self._buffer, self._filled = self._new_buffer(), 0
        if self._ids_palette is not None:
            pixels = paint_ids(self._ids_palette, pixels, "stdin")
        decode_ms = (time.perf_counter() - start_s) * 1e3
        return FrameTask(picture=pixels, times_ms={"decode": decode_ms})

    def close(self) -> None:
        """Leave stdin open; it belongs to the process."""

    def _new_buffer(self) -> bytearray:
        return bytearray(int(np.prod(self._shape)))

    def _end(self) -> NoReturn:
        if self._filled:
            self.frames_lost = 1
            _log.warning(
                "stdin ended within a frame: %d of %d bytes; do --size and --labels fit?",
                self._filled, len(self._buffer),
            )  # fmt: skip
        raise EOFError
