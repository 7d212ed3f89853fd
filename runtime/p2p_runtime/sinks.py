"""Where frames go: a video file that survives a crash, or a folder of PNGs.

Everything that can be known to fail is checked before the first frame: the place, the permission,
a second writer, and that the output is not the input.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from .errors import OutputError, SinkError
from .files import check_writable_folder, write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .frames import Frame, FrameSink

__all__ = ["CODEC", "VIDEO_FORMATS", "ImageFolderSink", "VideoFileSink", "open_sink"]

CODEC = "libx264"
VIDEO_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
GOP_FRAMES = 12
"""A fragment reaches the disk with the next key frame: so many frames a crash may cost."""

_TIME_BASE = Fraction(1, 90_000)
_MAX_FPS_DENOMINATOR = 1001  # 30000/1001 and its relatives come out exact
_SMPTE170M, _LIMITED_RANGE = 6, 1  # what the conversion from BGR writes; players guess otherwise

_log = logging.getLogger(__name__)


def open_sink(
    output: Path,
    *,
    width: int,
    height: int,
    fps: float,
    source: Path | None = None,
    overwrite: bool = False,
) -> FrameSink:
    """Open a video file or, for a name without a suffix, a folder of PNGs.

    Args:
        output: where to write.
        width, height: size of the frames to come, in pixels (folders take any).
        fps: frames a second.
        source: what is being read; never written over.
        overwrite: replace what stands at ``output``.

    Raises:
        SinkError: the name, the place or the permission is wrong; nothing was changed.
    """
    if output.suffix.lower() in VIDEO_FORMATS:
        return VideoFileSink(
            output, width=width, height=height, fps=fps, source=source, overwrite=overwrite
        )
    if output.suffix and not output.is_dir():
        raise SinkError(
            f"cannot write {output}: {output.suffix} is not known; use "
            f"{', '.join(VIDEO_FORMATS)}, or a name without a suffix for a folder of PNGs"
        )
    return ImageFolderSink(output, source=source, overwrite=overwrite)


class VideoFileSink:
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
        """Claim the file and start the encoder; the arguments are those of :func:`open_sink`.

        Raises:
            SinkError: the place is wrong or taken, or the encoder is missing.
        """
        self._path, self._shape, self._written = path, (height, width, 3), 0
        self._last_pts = -1
        self._padding = (height % 2, width % 2)
        if any(self._padding):
            _log.warning(
                "%s: %dx%d px is odd, which H.264 cannot hold; the last row or column is doubled",
                path, width, height,
            )  # fmt: skip
        self._lock = _claim_file(path, source, overwrite)
        try:
            self._container = av.open(
                str(path.absolute()), "w", format=VIDEO_FORMATS[path.suffix.lower()],
                options=_container_options(path),
            )  # fmt: skip
            self._stream = self._add_stream(width + width % 2, height + height % 2, fps)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._release()
            raise SinkError(f"cannot write {path}: {_reason(error)}") from error

    def _add_stream(self, width: int, height: int, fps: float) -> Any:
        rate = Fraction(fps).limit_denominator(_MAX_FPS_DENOMINATOR)
        # Zero latency: no frame waits in the encoder for a crash to take it.
        options = {"preset": "veryfast", "crf": "18", "tune": "zerolatency"}
        stream: Any = self._container.add_stream(CODEC, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.gop_size, context.time_base = GOP_FRAMES, _TIME_BASE
        context.colorspace, context.color_range = _SMPTE170M, _LIMITED_RANGE
        return stream

    def write(self, frame: Frame) -> None:
        """Encode one frame.

        Raises:
            SinkError: it has another size or type than the video, or the disk is full.
        """
        if frame.image.shape != self._shape or frame.image.dtype != np.uint8:
            raise SinkError(
                f"{self._path} takes frames of {self._shape} uint8, "
                f"this one is {frame.image.shape} {frame.image.dtype}"
            )
        picture = av.VideoFrame.from_ndarray(self._pad(frame.image), format="bgr24")
        # Players and muxers need time to run forwards, whatever the source said.
        self._last_pts = max(round(frame.timestamp_s / _TIME_BASE), self._last_pts + 1)
        picture.pts, picture.time_base = self._last_pts, _TIME_BASE
        self._encode(picture)
        self._written += 1

    def close(self) -> None:
        """Finish the file, reopen it and count its frames.

        Raises:
            SinkError: it cannot be finished, or holds fewer frames than were written.
        """
        try:
            self._finish()
        finally:
            self._release()
        if self._written and (found := _count_frames(self._path)) != self._written:
            raise SinkError(
                f"{self._path} holds {found} frames, but {self._written} were written to it"
            )

    def abort(self) -> None:
        """Finish what can be finished; a file without a frame is removed."""
        with contextlib.suppress(SinkError):  # the error that led here is the one to tell
            self.close()

    def _finish(self) -> None:
        try:
            try:
                if self._written:
                    self._encode(None)
            finally:
                self._container.close()
            os.fsync(self._lock)
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _encode(self, picture: Any) -> None:
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _pad(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bottom, right = self._padding
        if not bottom and not right:
            return np.ascontiguousarray(image)
        return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE))

    def _failed(self, error: Exception) -> SinkError:
        return SinkError(
            f"cannot write {self._path}: {_reason(error)}; {self._written} frames were written"
        )

    def _release(self) -> None:
        if self._lock < 0:
            return
        if os.fstat(self._lock).st_size == 0:
            self._path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


class ImageFolderSink:
    """A folder of PNGs, named like the pictures they come from; each is whole or not there."""

    def __init__(
        self, folder: Path, *, source: Path | None = None, overwrite: bool = False
    ) -> None:
        """Claim the folder.

        Raises:
            SinkError: it is the input, holds files already, cannot be written, or is being
                written by another process.
        """
        self._folder = folder
        self._names: set[str] = set()
        _refuse_source(folder, source)
        try:
            if folder.exists() and not folder.is_dir():
                raise SinkError(f"cannot write in {folder}: it is not a folder")
            check_writable_folder(folder)
            self._lock = _lock(os.open(folder, os.O_RDONLY), folder)
            if not overwrite and any(folder.iterdir()):
                os.close(self._lock)
                raise SinkError(f"{folder} is not empty; give --overwrite to write into it")
        except OutputError as error:
            raise SinkError(str(error)) from error
        except OSError as error:
            raise SinkError(f"cannot write in {folder}: {_reason(error)}") from error

    def write(self, frame: Frame) -> None:
        """Write one PNG.

        Raises:
            SinkError: it is not (H, W, 3) uint8, or the disk is full.
        """
        if frame.image.dtype != np.uint8 or frame.image.ndim != 3 or frame.image.shape[2] != 3:
            raise SinkError(
                f"{self._folder} takes (H, W, 3) uint8, "
                f"this frame is {frame.image.shape} {frame.image.dtype}"
            )
        name = f"{frame.name or f'{frame.index:06d}'}.png"
        done, content = cv2.imencode(".png", frame.image)
        if not done:
            raise SinkError(f"OpenCV cannot encode {name}")
        try:
            write_bytes(self._folder / name, content.tobytes())
        except OutputError as error:
            raise SinkError(f"{error}; {len(self._names)} pictures were written") from error
        self._names.add(name)

    def close(self) -> None:
        """Check that every picture is there.

        Raises:
            SinkError: one is not.
        """
        self.abort()
        missing = [name for name in self._names if not (self._folder / name).is_file()]
        if missing:
            raise SinkError(f"{self._folder} lacks {len(missing)} pictures that were written to it")

    def abort(self) -> None:
        """Let go of the folder; its pictures are whole."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


def _container_options(path: Path) -> dict[str, str]:
    options = {"flush_packets": "1"}
    if VIDEO_FORMATS[path.suffix.lower()] != "matroska":
        options["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
    return options


def _claim_file(path: Path, source: Path | None, overwrite: bool) -> int:
    """Open and lock the output, so that a second process is refused; return the descriptor."""
    _refuse_source(path, source)
    existed = path.exists()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {_reason(error)}") from error
    _lock(descriptor, path)
    if existed and not overwrite and os.fstat(descriptor).st_size > 0:
        os.close(descriptor)
        raise SinkError(f"{path} exists; give --overwrite to replace it")
    return descriptor


def _lock(descriptor: int, path: Path) -> int:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SinkError(f"{path} is being written by another process") from error
    return descriptor


def _refuse_source(output: Path, source: Path | None) -> None:
    if source is not None and output.exists() and source.exists() and output.samefile(source):
        raise SinkError(f"{output} is the input; name another output")


def _count_frames(path: Path) -> int:
    try:
        with av.open(str(path.absolute())) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except (av.error.FFmpegError, OSError) as error:
        raise SinkError(f"{path} was written but cannot be read back: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
