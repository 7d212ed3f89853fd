"""One frame on its way through the device, and the protocols of the two ends of that way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.colorspace import NO_MISMATCH, ColorspaceMismatch
from p2p_runtime.labels.yuv import Picture, to_bgr

from .sound import SoundTrack

__all__ = ["DEFAULT_FPS", "FrameInput", "FrameSink", "FrameSource", "FrameTask", "VideoInfo"]

DEFAULT_FPS = 25.0
"""Frame rate of folders, and of videos that state none or an impossible one."""


class FrameInput:
    """An input of the generator and, once it was asked for, its image.

    Frames with equal inputs share one object. The first thread that asks for the image computes it
    while the others wait. Its pixels, (H, W, 3) uint8 BGR of the contract's size, never change.
    """

    __slots__ = ("_image", "_lock", "pixels")

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.pixels = pixels
        self._image: NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    def image(self, infer: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) uint8 BGR; ``infer`` is :meth:`Engine.infer`."""
        with self._lock:
            if self._image is None:
                self._image = infer(self.pixels[np.newaxis])[0]  # (1, H, W, 3) -> (H, W, 3)
            return self._image


@dataclass(kw_only=True, slots=True, eq=False)
class FrameTask:
    """One frame, from the decoder that creates it to the sink that writes it.

    Everything that is learnt about a frame on its way is a field here; no stage wraps the task.
    One thread at a time works on it; :attr:`lock` is for the one step that two may want to take.

    Attributes:
        picture: as decoded: (H, W, 3) uint8 BGR, or 4:2:0 from a source that was asked for it.
        index: position in the source, from 0.
        timestamp_s: presentation time in seconds from the first frame; of a live source by this
            machine's clock.
        damaged: whether its data are damaged, or those of a frame that it is predicted from.
        clock_jumped: whether the source's clock jumped before it, see :class:`Clock`.
        name: stem of its file for pictures of a folder; empty otherwise.
        decoded_s: ``time.perf_counter()`` when its pixels were there.
        mismatch: how the colours of its stream differ from the palette as a whole.
        class_ids: (h, w) uint8 class of each input pixel; None before preprocessing, where labels
            are not repaired, and once a run without a viewer has translated the frame.
        input: what the generator gets, with its image; None before preprocessing, and once a run
            without a viewer has translated the frame: the queue holds no more than it needs.
        reused: whether an earlier frame has the same input; None until that is known.
        output: (H, W, 3) uint8 BGR, what the sink writes; None before inference.
        keep: called with the task once its output is there, before that is drawn on and written.
        blank: whether the generator's image has one colour although its input has several.
        off_palette: share (0-1) of pixels far from every palette colour; None if not measured.
        finished_s: ``time.perf_counter()`` when the output was there.
        times_ms: milliseconds by stage, see :data:`p2p_runtime.translate.report.STAGES`.
        done, error: whether a worker is through with it, and what that worker raised.
        lock: held while the picture is preprocessed.
    """

    picture: Picture
    index: int = 0
    timestamp_s: float = 0.0
    damaged: bool = False
    clock_jumped: bool = False
    name: str = ""
    decoded_s: float = field(default_factory=time.perf_counter)
    mismatch: ColorspaceMismatch = NO_MISMATCH
    class_ids: NDArray[np.uint8] | None = None
    input: FrameInput | None = None
    reused: bool | None = None
    output: NDArray[np.uint8] | None = None
    keep: Callable[[FrameTask], None] | None = None
    blank: bool = False
    off_palette: float | None = None
    finished_s: float = 0.0
    times_ms: dict[str, float] = field(default_factory=dict)
    done: bool = False
    error: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def image(self) -> NDArray[np.uint8]:
        """The output, or the picture while there is none: (H, W, 3) uint8 BGR.

        A 4:2:0 picture is converted each time.
        """
        return to_bgr(self.picture) if self.output is None else self.output


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """What a source knows before its first frame is decoded.

    Attributes:
        width, height: size in pixels (of a folder: of its first picture).
        fps: frames a second, above 0 and finite.
        frame_count: expected number of frames; None when the source does not say.
        pixel_aspect, sound: width of a pixel over its height; what outputs may copy, or None.
        on_demand: whether a frame is made when it is asked for, so that none is asked for early.
        facts: what the report of the run says of the source; may change until its end.
    """

    width: int
    height: int
    fps: float
    frame_count: int | None = None
    pixel_aspect: Fraction = Fraction(1)
    sound: SoundTrack | None = None
    on_demand: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


class FrameSource(Protocol):
    """Yields frames in order."""

    @property
    def info(self) -> VideoInfo:
        """Size, frame rate and length."""

    @property
    def frames_lost(self) -> int:
        """Number of frames that were expected and did not come; final after the iteration."""

    def __iter__(self) -> Iterator[FrameTask]:
        """Yield the frames.

        Raises:
            SourceError: a frame cannot be read.
            SourceLostError: a live source was lost and did not come back in time.
        """

    def close(self) -> None:
        """Release the source."""


class FrameSink(Protocol):
    """Takes frames in order. A sink with nothing to finish inherits `close` and `abort`."""

    def write(self, task: FrameTask) -> None:
        """Write the image of one frame; an OutputError, often a SinkError, if that fails."""

    def close(self) -> None:
        """Finish the output; raise a SinkError if not all of its frames can be read back."""
        return  # by default, nothing is left to finish

    def abort(self) -> None:
        """Finish the output as far as possible, because something else has failed."""
        return

    def losses(self) -> dict[str, int]:
        """Return how many frames an output did not get, by its name."""
        return {}
