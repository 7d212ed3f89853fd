"""A video file as a sink: H.264 that survives a crash."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import av

from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason

from .h264 import H264Sink
from .output_lock import open_locked

__all__ = ["VIDEO_FORMATS", "VideoFileSink"]

VIDEO_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

_log = logging.getLogger(__name__)


class VideoFileSink(H264Sink):
    """H.264 in fragmented MP4 (or Matroska): readable up to the last fragment at any moment."""

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: float,
        source: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        """Lock the file and start the encoder; for the arguments see `open_sink`.

        Raises:
            SinkError: the place is wrong, or locked, or the encoder is missing.
        """
        self._path = path
        if height % 2 or width % 2:
            _log.warning(
                "%s: %dx%d px is odd, which H.264 cannot hold; the last row or column is repeated",
                path, width, height,
            )  # fmt: skip
        self._lock = open_locked(path, source, overwrite)
        try:
            container = av.open(
                str(path.absolute()), "w", format=VIDEO_FORMATS[path.suffix.lower()],
                options=_container_options(path),
            )  # fmt: skip
            super().__init__(container, str(path), width=width, height=height, fps=fps)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._release()
            raise SinkError(f"cannot write {path}: {reason(error)}") from error

    def close(self) -> None:
        """Finish the file, reopen it and count its frames; remove it if it has none."""
        try:
            super().close()
            os.fsync(self._lock)
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {reason(error)}") from error
        finally:
            self._release()
        if self.written and (found := count_frames(self._path)) != self.written:
            raise SinkError(
                f"{self._path} holds {found} frames, but {self.written} were written to it"
            )

    def _release(self) -> None:
        if self._lock < 0:
            return
        if os.fstat(self._lock).st_size == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


def _container_options(path: Path) -> dict[str, str]:
    options = {"flush_packets": "1"}
    if VIDEO_FORMATS[path.suffix.lower()] != "matroska":
        options["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
    return options


def count_frames(path: Path) -> int:
    """Return how many frames a video file holds; raise a SinkError if it cannot be read."""
    try:
        with av.open(str(path.absolute())) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (av.error.FFmpegError, OSError) as error:
        raise SinkError(f"{path} was written but cannot be read back: {reason(error)}") from error
