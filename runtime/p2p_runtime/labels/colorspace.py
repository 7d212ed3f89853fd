"""Colours that are off as a whole: undone by looking for the palette's colours where they went.

A video does not always say by which matrix (BT.601, BT.709) and in which range (16-235, 0-255) its
colours were stored, and whoever guesses wrong shifts all of them in the same way. Rather than
change every frame back, the palette is looked for in its shifted colours.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .color_lut import YCBCR_OF_BGR
from .yuv import ColorSpec, thinned

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .palette import Palette
    from .yuv import Picture

__all__ = ["DRIFTS", "NO_MISMATCH", "ColorspaceMismatch", "ColorspaceWatch", "find_mismatch"]

WITHIN_LEVELS = 6
"""Decoded label colours are mostly this near to the right ones, and the drifts further apart."""

LEAST_SHARE = 0.5
LEAST_GAIN = 0.2
"""To be believed, a drift explains half of the pixels, and a fifth more than the one before."""

FIRST_FRAMES = 8
EVERY_FRAMES = 64
_SAMPLES = 32  # rows and columns looked at, or a few more

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ColorspaceMismatch:
    """What a wrong guess does to colours: ``seen = true @ matrix + offset``, in BGR levels.

    Attributes:
        name: what was taken for what; empty when nothing was.
        matrix: three rows of three.
        offset: three.
    """

    name: str
    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]

    def levels(self, colours_bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the levels at which true colours appear before they are clipped, (N, 3) BGR."""
        return np.asarray(colours_bgr @ np.array(self.matrix) + np.array(self.offset))

    def seen(self, colours_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the colours in which true ones appear: (N, 3) uint8 BGR in and out."""
        return np.asarray(np.clip(np.rint(self.levels(colours_bgr)), 0, 255), np.uint8)


NO_MISMATCH = ColorspaceMismatch(
    "", ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (0.0, 0.0, 0.0)
)


class ColorspaceWatch:
    """Keeps an eye on a stream's colours: on its first frames, and then now and again."""

    def __init__(self, palette: Palette | None) -> None:
        self._palette = palette
        self._frames = 0
        self.drift = NO_MISMATCH

    def look(self, frame: Picture) -> ColorspaceMismatch:
        """Return the drift of a stream whose next frame this is; say so in the log if it is new."""
        due = self._frames < FIRST_FRAMES or self._frames % EVERY_FRAMES == 0
        self._frames += 1
        if due and self._palette is not None:
            found = find_mismatch(frame, self._palette, self.drift)
            if found != self.drift:
                said = found.name or "as they should be"
                _log.info("the colours of the video are %s; they are read accordingly", said)
            self.drift = found
        return self.drift


def find_mismatch(
    frame: Picture, palette: Palette, believed: ColorspaceMismatch = NO_MISMATCH
) -> ColorspaceMismatch:
    """Return the drift that puts most pixels on palette colours.

    Args:
        frame: (H, W, 3) uint8 BGR, or planes.
        palette: the colours that a label map should have.
        believed: what to stay with unless another one explains many more pixels.
    """
    rows, columns = (max(1, length // _SAMPLES) for length in frame.shape[:2])
    pixels = thinned(frame, rows, columns).reshape(-1, 3)
    packed = pixels @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    _, first, counts = np.unique(packed, return_index=True, return_counts=True)
    pixels, weights = pixels[first], counts / len(packed)
    colours = palette.colours_bgr()

    def share(drift: ColorspaceMismatch) -> float:
        return float(weights @ _near(pixels, drift.seen(colours)))

    before = share(believed)
    if before > 1 - LEAST_GAIN:
        return believed
    shares = {drift: share(drift) for drift in DRIFTS}
    best = max(shares, key=lambda drift: shares[drift])
    believable = shares[best] >= LEAST_SHARE and shares[best] - before >= LEAST_GAIN
    return best if believable else believed


def _near(pixels: NDArray[np.uint8], seen: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which pixels are near a colour: (P, 3) and (N, 3) uint8 BGR in, (P,) out."""
    away = (pixels @ YCBCR_OF_BGR)[:, np.newaxis] - seen @ YCBCR_OF_BGR  # (P, N, 3)
    return np.asarray(np.abs(away).max(axis=-1).min(axis=-1) <= WITHIN_LEVELS)


def _drift(stored: tuple[str, str], taken_for: tuple[str, str]) -> ColorspaceMismatch:
    encode, encode_offset = ColorSpec(*stored).affine()
    decode, decode_offset = ColorSpec(*taken_for).affine()
    back = np.linalg.inv(decode)
    matrix, offset = encode @ back, (encode_offset - decode_offset) @ back
    names = [f"{a} taken for {b}" for a, b in zip(stored, taken_for, strict=True) if a != b]
    rows = tuple(tuple(row) for row in matrix.tolist())
    return ColorspaceMismatch(" and ".join(names), rows, tuple(offset.tolist()))


DRIFTS = (
    NO_MISMATCH,
    *(
        _drift((matrices[0], ranges[0]), (matrices[1], ranges[1]))
        for matrices, ranges in product(
            (("BT.601", "BT.601"), ("BT.601", "BT.709"), ("BT.709", "BT.601")),
            (("limited", "limited"), ("limited", "full"), ("full", "limited")),
        )
        if matrices[0] != matrices[1] or ranges[0] != ranges[1]
    ),
)
"""No drift, and every way in which one guess or both can be wrong."""
