"""From the frames of a stream to the generator's inputs.

Most of the work on one frame needs no other frame; only the search for an equal input does. So
frames are admitted in their order, preprocessed by any thread, and completed in their order by
whichever thread needs a result first.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.color_lut import check_opencv
from p2p_runtime.labels.colorspace import ColorspaceWatch
from p2p_runtime.labels.yuv import YuvFrame, to_bgr
from p2p_runtime.model.contract import PixelContract, check_frame
from p2p_runtime.video.frames import FrameInput, FrameTask

__all__ = ["OutputCache", "Preprocessor"]

_OFF_PALETTE_PX = 8
"""Distance in pixels of the rows and columns that are measured for colours off the palette."""


class Preprocessor:
    """Fills in the inputs of one stream's frames; label maps are repaired or only resized.

    Raises:
        ConfigError: the threshold is negative.
        MissingExtraError: labels are to be repaired, and OpenCV is too old.
    """

    def __init__(
        self,
        contract: PixelContract,
        *,
        repair_labels: bool = True,
        dedupe_threshold_px: int | None = 0,
    ) -> None:
        self._contract = contract
        self._repairs = repair_labels and contract.palette is not None
        if self._repairs:
            check_opencv()
        self._watch = ColorspaceWatch(contract.palette if self._repairs else None)
        self._cache = OutputCache(dedupe_threshold_px)
        self._waiting: deque[FrameTask] = deque()  # admitted and not completed, in order
        self._order = threading.Lock()  # held by the thread that completes tasks

    @property
    def wants_yuv(self) -> bool:
        """Whether frames are better left in 4:2:0, as a codec stores them."""
        return self._repairs

    def admit(self, task: FrameTask) -> None:
        """Take the stream's next frame; quick, and called in the order of the frames.

        Raises:
            ContractError: the picture is not (h, w, 3) uint8.
        """
        check_frame(task.picture)
        if self._repairs:
            # Damage says nothing of how colours were stored.
            damaged = task.damaged
            task.mismatch = self._watch.mismatch if damaged else self._watch.update(task.picture)
        self._waiting.append(task)

    def preprocess(self, task: FrameTask) -> None:
        """Do, once, the part that needs no other frame: resize, and repair labels."""
        with task.lock:
            if "preprocess" in task.times_ms:
                return
            start_s = time.perf_counter()
            if self._repairs:
                task.class_ids = self._contract.classify(task.picture, mismatch=task.mismatch)
            task.input = FrameInput(self._pixels(task))
            task.times_ms["preprocess"] = (time.perf_counter() - start_s) * 1e3

    def complete(self, task: FrameTask) -> None:
        """Do, once, the rest: look for an equal input.

        All frames before it are completed first, by this thread if no other has done so.
        """
        self.preprocess(task)
        with self._order:
            while task.reused is None:
                earliest = self._waiting[0]
                self.preprocess(earliest)
                self._complete(earliest)
                self._waiting.popleft()

    def off_palette(self, task: FrameTask) -> float | None:
        """Return the share (0-1) of pixels far from every palette colour; None without a palette.

        Every eighth row and column is measured.
        """
        if self._contract.palette is None:
            return None
        return self._contract.off_palette(task.picture, task.mismatch, every_px=_OFF_PALETTE_PX)

    def repaired(self, task: FrameTask) -> NDArray[np.uint8]:
        """Return the picture (h, w, 3) uint8 BGR at its own size in the input's colours."""
        if not self._repairs:
            return to_bgr(task.picture)
        size = task.picture.shape[:2]
        ids = self._contract.classify(task.picture, size=size, mismatch=task.mismatch)
        return self._contract.paint(ids)

    def _complete(self, task: FrameTask) -> None:
        start_s = time.perf_counter()
        assert task.input is not None, "it was preprocessed"
        task.input, task.reused = self._cache.find(task.input)
        task.times_ms["preprocess"] += (time.perf_counter() - start_s) * 1e3

    def _pixels(self, task: FrameTask) -> NDArray[np.uint8]:
        """Return the generator's input (height, width, 3) uint8 BGR, in memory of its own."""
        if task.class_ids is not None:
            return self._contract.paint(task.class_ids)
        picture = task.picture
        pixels = self._contract.preprocess(picture, repair_labels=False)
        shared = not isinstance(picture, YuvFrame) and np.may_share_memory(pixels, picture)
        return pixels.copy() if shared else pixels


class OutputCache:
    """Remembers the last input that was translated, with its image.

    A generator in evaluation is a function of its input, so equal inputs have equal images: a
    paused or slow stream costs a comparison a frame, about 10 us for 256x256 px.

    Equal inputs may differ in ``threshold_px`` pixels; None disables the cache, and a negative
    number raises a ConfigError.
    """

    def __init__(self, threshold_px: int | None = 0) -> None:
        if threshold_px is not None and threshold_px < 0:
            raise ConfigError(f"the dedupe threshold is {threshold_px} px; use 0 or more")
        self._threshold_px = threshold_px
        self._last: FrameInput | None = None

    def find(self, new: FrameInput) -> tuple[FrameInput, bool]:
        """Return the equal input of an earlier frame and True, or ``new`` and False.

        It is compared with the last one that was translated, so that small changes add up.
        """
        last = self._last
        if last is not None and self._equal(last.pixels, new.pixels):
            return last, True
        if self._threshold_px is not None:
            self._last = new
        return new, False

    def _equal(self, last: NDArray[np.uint8], new: NDArray[np.uint8]) -> bool:
        if not self._threshold_px or last.shape != new.shape:
            return np.array_equal(last, new)
        differs = last != new
        changed = differs[..., 0] | differs[..., 1] | differs[..., 2]  # (H, W)
        return int(np.count_nonzero(changed)) <= self._threshold_px
