"""H.264 in any container, for video files and pushed streams."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from p2p_runtime.errors import SinkError
from p2p_runtime.files import reason
from p2p_runtime.video.size_guard import require_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.video.frames import FrameTask

__all__ = ["CODEC", "CRF", "PRESET", "H264Sink"]

CODEC = "libx264"
GOP_FRAMES = 12
"""Distance of key frames. A fragment reaches the disk with the next one, so a crash may cost that
many frames."""

PRESET, CRF = "ultrafast", 19
"""Effort and quality of libx264. The least effort, because an edge device's cores belong to the
model; ``python -m experiments.encoding`` measures what others cost."""

_TIME_BASE = Fraction(1, 90_000)
_MAX_FPS_DENOMINATOR = 1001  # 30000/1001 and its relatives come out exact
_SMPTE170M, _LIMITED_RANGE = 6, 1  # as OpenCV converts; players guess otherwise


class H264Sink:
    """Encodes frames of one size; see :class:`p2p_runtime.video.frames.FrameSink`.

    Attributes:
        written: number of encoded frames.
    """

    def __init__(
        self,
        container: Any,
        name: str,
        *,
        width: int,
        height: int,
        fps: float,
        preset: str = PRESET,
        crf: int = CRF,
    ) -> None:
        """Add a video stream to a container.

        Args:
            container: an open ``av`` output container.
            name: the output's name in errors.
            width, height: size of the frames in pixels; odd sides grow by one.
            fps: frames a second, for players; each frame is shown at its own time.
            preset: libx264's preset, its effort.
            crf: libx264's constant rate factor; lower values give better and larger videos.
        """
        self.written = 0
        self._container, self._name = container, name
        self._shape, self._last_pts = (height, width, 3), -1
        rate = Fraction(fps).limit_denominator(_MAX_FPS_DENOMINATOR)
        # Zero latency: no frame waits in the encoder for a crash to take it.
        options = {"preset": preset, "crf": str(crf), "tune": "zerolatency"}
        self._stream: Any = container.add_stream(CODEC, rate=rate, options=options)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.gop_size, context.time_base = GOP_FRAMES, _TIME_BASE
        context.colorspace, context.color_range = _SMPTE170M, _LIMITED_RANGE

    def write(self, task: FrameTask) -> None:
        """Encode one frame."""
        image = task.image
        require_shape(image, self._shape, self._name)
        yuv = np.asarray(cv2.cvtColor(self._pad(image), cv2.COLOR_BGR2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
        # Players and muxers need increasing times, whatever the source states.
        self._last_pts = max(round(task.timestamp_s / _TIME_BASE), self._last_pts + 1)
        picture.pts, picture.time_base = self._last_pts, _TIME_BASE
        self._encode(picture)
        self.written += 1

    def close(self) -> None:
        """Write what the encoder still holds, then close the container in every case."""
        try:
            try:
                if self.written:
                    self._encode(None)
            finally:
                self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Finish as far as possible."""
        with contextlib.suppress(SinkError):  # the error that led here is the one to report
            self.close()

    def _encode(self, picture: Any) -> None:
        try:
            self._container.mux(self._stream.encode(picture))
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _pad(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bottom, right = image.shape[0] % 2, image.shape[1] % 2
        if not bottom and not right:
            return np.ascontiguousarray(image)
        return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE))

    def _failed(self, error: Exception) -> SinkError:
        return SinkError(
            f"cannot write {self._name}: {reason(error)}; {self.written} frames were written"
        )
