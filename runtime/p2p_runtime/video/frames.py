"""What flows through the runtime, and the two protocols at its ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from p2p_runtime.labels.yuv import Picture, to_bgr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DEFAULT_FPS", "Arrival", "Frame", "FrameSink", "FrameSource", "VideoInfo"]

DEFAULT_FPS = 25.0
"""For folders, and for videos that do not say, or say something impossible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """When a live frame came, for its latency.

    Attributes:
        decoded_s: ``time.perf_counter()`` when its pixels were there.
        decode_ms: what decoding it took, without the wait for its bytes.
    """

    decoded_s: float
    decode_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One picture of a video, a folder or a live source.

    Attributes:
        picture: (H, W, 3) uint8 BGR, or, from a source that was asked for them, the planes of its
            codec.
        index: its place, from 0.
        timestamp_s: when it is shown, in seconds from the start of the video; of a live source,
            from its first frame, by the clock of this machine.
        name: the stem of its file, for pictures of a folder; empty otherwise.
        arrival: when it came, if it is live; otherwise it came when it was asked for.
    """

    picture: Picture
    index: int
    timestamp_s: float
    name: str = ""
    arrival: Arrival | None = None

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture as (H, W, 3) uint8 BGR; planes are converted each time."""
        return to_bgr(self.picture)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What is known of a source before its first frame is decoded.

    Attributes:
        width, height: size in pixels (of a folder: of its first picture).
        fps: frames a second, above 0 and finite.
        frame_count: how many frames there should be; None when the source does not say.
    """

    width: int
    height: int
    fps: float
    frame_count: int | None


class FrameSource(Protocol):
    """Gives frames in order."""

    @property
    def info(self) -> VideoInfo:
        """Size, speed and length."""
        ...

    @property
    def frames_lost(self) -> int:
        """Frames that should have come and did not; final once the iteration has ended."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Free the source."""
        ...


class FrameSink(Protocol):
    """Takes frames in order."""

    def write(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            SinkError: the frame does not fit, or it cannot be written.
        """
        ...

    def close(self) -> None:
        """Finish what was written and check it.

        Raises:
            SinkError: fewer frames can be read back than were written.
        """
        ...

    def abort(self) -> None:
        """Finish what was written as far as that works, because something else has failed."""
        ...
