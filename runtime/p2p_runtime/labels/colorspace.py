"""Colorspace mismatches: a wrong matrix or range in decoding shifts all colours of a video.

Videos do not always declare their matrix (BT.601 or BT.709) and range (16-235 or 0-255). A wrong
guess maps every colour by the same affine map. Label repair applies that map to the palette, which
costs nothing per frame.
"""

from __future__ import annotations

import logging
from dataclasses import astuple, dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .color_lut import YCBCR_OF_BGR
from .palette import Palette
from .yuv import ColorSpec, Picture, to_bgr

__all__ = ["MISMATCHES", "NO_MISMATCH", "ColorspaceMismatch", "ColorspaceWatch", "find_mismatch"]

WITHIN_LEVELS = 6
"""Maximum distance in luma, Cb and Cr between a pixel and a palette colour to count as a match."""

LEAST_SHARE, LEAST_GAIN = 0.5, 0.2
"""Minimum share of matching pixels for a mismatch to be accepted, and its minimum increase."""

FIRST_FRAMES, EVERY_FRAMES = 8, 64
"""Number of frames tested at the start of a stream, and distance between tests after them."""

_SAMPLES = 32
"""Minimum number of rows and of columns tested in a frame."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ColorspaceMismatch:
    """The shift of all colours of a video that is decoded by another matrix or range than its own.

    Attributes:
        stored: what the video was encoded with.
        taken_for: what it is decoded with.
    """

    stored: ColorSpec
    taken_for: ColorSpec

    @property
    def name(self) -> str:
        """The mismatch for people, such as ``BT.601 taken for BT.709``; empty for none."""
        pairs = zip(astuple(self.stored), astuple(self.taken_for), strict=True)
        return " and ".join(f"{own} taken for {other}" for own, other in pairs if own != other)

    def shift_levels(self, colours_bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the decoded levels of true colours, unclipped: (N, 3) BGR in and out."""
        encode, offset = self.stored.bgr_to_yuv()
        decode, decode_offset = self.taken_for.bgr_to_yuv()
        yuv = colours_bgr @ encode + (offset - decode_offset)
        return np.asarray(yuv @ np.linalg.inv(decode))

    def shift(self, colours_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the decoded colours of true ones: (N, 3) uint8 BGR in and out."""
        return np.asarray(np.clip(np.rint(self.shift_levels(colours_bgr)), 0, 255), np.uint8)


NO_MISMATCH = ColorspaceMismatch(ColorSpec(), ColorSpec())


class ColorspaceWatch:
    """Tests a stream for a mismatch, on its first frames and then every 64th."""

    def __init__(self, palette: Palette | None) -> None:
        self._palette, self._frames = palette, 0
        self.mismatch = NO_MISMATCH

    def update(self, frame: Picture) -> ColorspaceMismatch:
        """Return the mismatch as of the stream's next frame, and log a change."""
        due = self._frames < FIRST_FRAMES or self._frames % EVERY_FRAMES == 0
        self._frames += 1
        if due and self._palette is not None:
            found = find_mismatch(frame, self._palette, self.mismatch)
            if found != self.mismatch:
                _log.info("colorspace mismatch, corrected from here on: %s", found.name or "none")
            self.mismatch = found
        return self.mismatch


def find_mismatch(
    frame: Picture, palette: Palette, current: ColorspaceMismatch = NO_MISMATCH
) -> ColorspaceMismatch:
    """Return the mismatch that puts most pixels on palette colours.

    Args:
        frame: (H, W, 3) uint8 BGR, or YUV 4:2:0.
        palette: the true colours of the label map.
        current: the mismatch to keep unless another one matches many more pixels.
    """
    rows, columns = (max(1, length // _SAMPLES) for length in frame.shape[:2])
    pixels = to_bgr(frame, rows, columns).reshape(-1, 3)
    packed = pixels @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    _, first, counts = np.unique(packed, return_index=True, return_counts=True)
    weights = counts / len(packed)
    levels = (pixels[first] @ YCBCR_OF_BGR)[:, np.newaxis]  # (P, 1, 3) luma, Cb, Cr
    colours = palette.colours_bgr()

    def share(mismatch: ColorspaceMismatch) -> float:
        distances = np.abs(levels - mismatch.shift(colours) @ YCBCR_OF_BGR).max(axis=-1)  # (P, N)
        return float(weights @ (distances.min(axis=-1) <= WITHIN_LEVELS))

    before = share(current)
    if before > 1 - LEAST_GAIN:
        return current
    best = max(MISMATCHES, key=share)
    return best if share(best) >= max(LEAST_SHARE, before + LEAST_GAIN) else current


MISMATCHES = (
    NO_MISMATCH,
    *(
        ColorspaceMismatch(ColorSpec(stored, levels), ColorSpec(taken_for, levels_taken_for))
        for (stored, taken_for), (levels, levels_taken_for) in product(
            (("BT.601", "BT.601"), ("BT.601", "BT.709"), ("BT.709", "BT.601")),
            (("limited", "limited"), ("limited", "full"), ("full", "limited")),
        )
        if stored != taken_for or levels != levels_taken_for
    ),
)
"""No mismatch, and the eight ways in which the matrix, the range or both can be wrong."""
