"""H.264 in any container: what a video file and a pushed stream have in common."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from p2p_runtime.errors import SinkError

from .output_lock import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.video.frames import Frame

__all__ = ["CODEC", "CRF", "PRESET", "H264Encoder"]

CODEC = "libx264"
GOP_FRAMES = 12
"""A fragment reaches the disk with the next key frame: so many frames a crash may cost."""

PRESET, CRF = "ultrafast", 19
"""libx264's effort, and its quality: the least effort, since an edge device's cores belong to the
model. docs/running.md has what others cost, see ``python -m experiments.encoding``."""

_TIME_BASE = Fraction(1, 90_000)
_MAX_FPS_DENOMINATOR = 1001  # 30000/1001 and its relatives come out exact
_SMPTE170M, _LIMITED_RANGE = 6, 1  # as OpenCV converts; players guess otherwise


class H264Encoder:
    """Encodes frames of one size into an open container.

    Attributes:
        written: how many frames were encoded.
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
        """Add a video stream to a container; the container stays the caller's.

        Args:
            container: an open ``av`` output container.
            name: what errors call it.
            width, height: size of the frames in pixels; odd sides grow by one.
            fps: frames a second, for players; each frame is shown at its own time.
            preset: libx264's name of how much effort it makes.
            crf: libx264's constant rate factor; smaller is better and larger.
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

    def write(self, frame: Frame) -> None:
        """Encode one frame.

        Raises:
            SinkError: it has another size or type, or the container cannot be written.
        """
        if frame.image.shape != self._shape or frame.image.dtype != np.uint8:
            raise SinkError(
                f"{self._name} takes frames of {self._shape} uint8, "
                f"this one is {frame.image.shape} {frame.image.dtype}"
            )
        planes = np.asarray(cv2.cvtColor(self._pad(frame.image), cv2.COLOR_BGR2YUV_I420), np.uint8)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        # Players and muxers need time to run forwards, whatever the source said.
        self._last_pts = max(round(frame.timestamp_s / _TIME_BASE), self._last_pts + 1)
        picture.pts, picture.time_base = self._last_pts, _TIME_BASE
        self._encode(picture)
        self.written += 1

    def finish(self) -> None:
        """Write what the encoder still holds, then close the container in every case.

        Raises:
            SinkError: the container cannot be written.
        """
        try:
            try:
                if self.written:
                    self._encode(None)
            finally:
                self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._failed(error) from error

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
