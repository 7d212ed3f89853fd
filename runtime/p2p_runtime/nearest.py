"""The palette colour behind each of the 2**24 colours, remembered in two bytes each."""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "EXACT",
    "ID",
    "NEAR",
    "NEAR_LEVELS",
    "SURE",
    "SURE_LEVELS",
    "YCBCR_OF_BGR",
    "ColourTable",
]

NEAR_LEVELS = 31
"""A pixel belongs to a palette when its nearest colour is at most this far in every channel.

JPEG label maps of Cityscapes hold 92 % of their pixels within 31 levels of the true colour."""

SURE_LEVELS = 12
"""A colour is sure when its luma and both chroma are at most this far from the palette's.

Found on the CamVid label video: 8 leaves thin poles without sure pixels, 16 takes riders for
persons, whose colours are 17 levels of chroma apart."""

YCBCR_OF_BGR = np.array(
    [[0.114, 0.587, 0.299], [0.5, -0.3313, -0.1687], [-0.0813, -0.4187, 0.5]], np.float32
).T
"""(3, 3): BGR rows times this are (luma, Cb, Cr), all in levels; ITU-T T.871, without offsets."""

ID = 0x00FF
"""Bits of a code that hold the class; the others are flags."""

SURE, EXACT, NEAR, _KNOWN = 0x0100, 0x0200, 0x0400, 0x8000


class ColourTable:
    """Exact nearest colours, looked up once for each colour that comes along.

    A frame holds few new colours, so a lookup is one gather a pixel once the first frames have
    filled the table. Two threads may fill the same entry; they write the same value.

    Args:
        classes: (N,) uint8 class indices.
        colours_bgr: (N, 3) uint8 BGR, the colour in which each of them is seen.
        more_bgr: (M, 3) uint8 BGR, colours that belong to the palette, too, but to no class that
            may come out; for the flag ``NEAR`` only.
    """

    def __init__(
        self,
        classes: NDArray[np.uint8],
        colours_bgr: NDArray[np.uint8],
        more_bgr: NDArray[np.uint8] | None = None,
    ) -> None:
        self._classes = classes.astype(np.uint16)
        self._colours = colours_bgr.astype(np.float32)
        more = colours_bgr[:0] if more_bgr is None else more_bgr
        self._all_colours = np.concatenate([colours_bgr, more]).astype(np.float32)
        self._codes = _sparse_zeros(1 << 24)

    def codes(self, frame: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Look up a frame.

        Args:
            frame: (..., H, W, 3) uint8 BGR.

        Returns:
            (..., H, W) uint16: the class of the nearest colour in the bits ``ID``, and the flags
            ``EXACT`` (it is that colour), ``SURE`` (within 12 levels in luma and chroma) and
            ``NEAR`` (within 31 levels in every channel). Nearest is the least squared distance in
            RGB; a tie goes to the class that stands first.
        """
        rows = frame.reshape(-1, *frame.shape[-2:])  # OpenCV takes three axes
        packed = cv2.cvtColor(rows, cv2.COLOR_BGR2BGRA).view(np.uint32)[..., 0] & 0xFFFFFF
        codes = np.take(self._codes, packed, mode="clip")
        unknown = codes == 0
        if unknown.any():
            self._learn(np.unique(packed[unknown]))
            codes = np.take(self._codes, packed, mode="clip")
        return codes.reshape(frame.shape[:-1])

    def _learn(self, packed: NDArray[np.uint32]) -> None:
        levels = np.stack([packed & 255, packed >> 8 & 255, packed >> 16], axis=-1)  # (M, 3)
        levels = levels.astype(np.float32)
        nearest = _nearest(levels, self._colours)
        away = levels - self._colours[nearest]
        sure = np.abs(away @ YCBCR_OF_BGR).max(axis=-1) <= SURE_LEVELS
        far = np.abs(levels - self._all_colours[_nearest(levels, self._all_colours)])
        codes = self._classes[nearest] | np.uint16(_KNOWN)
        codes[(away == 0).all(axis=-1)] |= np.uint16(EXACT)
        codes[far.max(axis=-1) <= NEAR_LEVELS] |= np.uint16(NEAR)
        codes[sure] |= np.uint16(SURE)
        self._codes[packed] = codes


def _sparse_zeros(count: int) -> NDArray[np.uint16]:
    """Return zeros that take memory only where they are written, 4 KiB at a time.

    NumPy would have Linux take huge pages: 32 MiB at once for the colours of a label video, which
    touch 20.
    """
    memory = mmap.mmap(-1, 2 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages takes none
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.uint16)


def _nearest(levels: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the index of the nearest colour: (M, 3) and (N, 3) in, (M,) out."""
    # |x - c|^2 without |x|^2; float32 is exact for these whole numbers
    squares = (colours**2).sum(axis=-1) - 2 * (levels @ colours.T)  # (M, N)
    return np.asarray(squares.argmin(axis=-1), np.intp)
