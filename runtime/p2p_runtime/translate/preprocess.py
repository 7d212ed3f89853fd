"""From a stream's frames to the generator's inputs: the contract, and what only a stream tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.labels.color_lut import check_opencv
from p2p_runtime.labels.colorspace import NO_MISMATCH, ColorspaceWatch
from p2p_runtime.labels.temporal import TemporalFilter
from p2p_runtime.labels.yuv import YuvFrame, to_bgr
from p2p_runtime.model.contract import check_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.labels.colorspace import ColorspaceMismatch
    from p2p_runtime.labels.yuv import Picture
    from p2p_runtime.model.contract import PixelContract

__all__ = ["Preprocessor"]

_EVERY_PX = 8


class Preprocessor:
    """Fits the frames of one stream, in their order.

    Args:
        contract: how a frame becomes the generator's input.
        snap: repair label maps; without it they are only resized.
        vote: give each pixel of a label map the class that it had most often in so many frames.

    Raises:
        MissingExtraError: label maps are to be repaired, and OpenCV is too old.
    """

    def __init__(self, contract: PixelContract, *, snap: bool = True, vote: int = 1) -> None:
        self._contract = contract
        self._snap = snap and contract.palette is not None
        if self._snap:
            check_opencv()
        self._watch = ColorspaceWatch(contract.palette if snap else None)
        self._vote = TemporalFilter(vote) if vote > 1 and self._snap else None

    @property
    def reads_yuv(self) -> bool:
        """Whether frames are better left in a codec's planes."""
        return self._snap

    def __call__(self, frame: Picture) -> NDArray[np.uint8]:
        """Return the generator's input, (height, width, 3) uint8 BGR, in memory of its own.

        Raises:
            ContractError: the frame is not (h, w, 3) uint8.
        """
        return self.elect(self.fit(frame, self.look(frame)))

    def look(self, frame: Picture) -> ColorspaceMismatch:
        """Say how the colours of the stream, whose next frame this is, are off as a whole.

        Raises:
            ContractError: the frame is not (h, w, 3) uint8.
        """
        check_frame(frame)
        return self._watch.look(frame) if self._snap else NO_MISMATCH

    def fit(self, frame: Picture, drift: ColorspaceMismatch) -> NDArray[np.uint8]:
        """Do the part of the work that needs no other frame; in any thread and order.

        Returns:
            what :meth:`elect` takes.
        """
        if not self._snap:
            fitted = self._contract.preprocess(frame, repair_labels=False)
            shared = not isinstance(frame, YuvFrame) and np.may_share_memory(fitted, frame)
            return fitted.copy() if shared else fitted
        ids = self._contract.classify(frame, mismatch=drift)
        return ids if self._vote else self._contract.paint(ids)

    def elect(self, fitted: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Do the rest, in the order of the frames: let the last label maps vote."""
        return self._contract.paint(self._vote(fitted)) if self._vote else fitted

    def off_palette(self, frame: Picture, drift: ColorspaceMismatch) -> float | None:
        """Return the share (0-1) of pixels far from every palette colour; None if there is none.

        Every eighth row and column is looked at.
        """
        if self._contract.palette is None:
            return None
        return self._contract.off_palette(frame, drift, every_px=_EVERY_PX)

    def repair(self, frame: Picture, drift: ColorspaceMismatch) -> NDArray[np.uint8]:
        """Return a frame at its own size, in the colours that the generator is given."""
        if not self._snap:
            return to_bgr(frame)
        return self._contract.paint(
            self._contract.classify(frame, size=frame.shape[:2], mismatch=drift)
        )
