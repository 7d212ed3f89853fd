"""How well a palette fits pictures: whether they are label maps in its colours at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import Palette

__all__ = ["PaletteFit", "fit_palette", "is_grey"]

BLACK = (0, 0, 0)
NEAR_LEVELS, CLOSE_LEVELS = 31, 8
SEEN_SHARE = 0.01
"""Minimum share of the pixels that count, for a class that is seen."""

MIN_NEAR, MIN_CLOSE = 0.9, 0.4
"""Minimum shares for pictures whose palette is to be recognised. Of JPEG maps, 0.95 and 0.79 are
usual; photos, also at night, have at most 0.6 and 0.05, since few of their colours are exact."""

MIN_NEAR_NAMED = 0.8
"""Minimum share for pictures whose palette the user names; another palette's maps have 0.4."""

GREY_LEVELS = 12
"""Maximum difference of the channels of a grey pixel, which JPEG may cause."""

MAX_SIDE = 128
"""About the number of rows and columns of a picture that are read."""

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaletteFit:
    """Measurements of pictures against a palette; pixels of a black class do not count.

    So the dark ground of sparse pictures and the sky of night photos are no labels.

    Attributes:
        near, close: shares (0-1) of the pixels within 31 and within 8 levels of a colour.
        classes: number of classes of which at least 1 % of them are close.
        black, grey: some pixels are black; all pictures are grey.
        colourful: the palette has colours that are not grey.
    """

    near: float
    close: float
    classes: int
    black: bool
    grey: bool
    colourful: bool

    @property
    def recognised(self) -> bool:
        """Whether the pictures are label maps beyond doubt."""
        shares = self.near >= MIN_NEAR and self.close >= MIN_CLOSE
        return shares and self.classes > 1 and not self.grey

    @property
    def refused(self) -> str:
        """Why the pictures are no label maps of the palette, whoever says so; or nothing."""
        if self.classes + self.black < 2:
            return "they would all become one colour"
        if self.grey and self.colourful:
            return "they are grey"
        if self.near < MIN_NEAR_NAMED:
            return f"{1 - self.near:.0%} of the pixels that are not black have none of its colours"
        return ""


def fit_palette(palette: Palette, pictures: Iterable[Image]) -> PaletteFit:
    """Measure how well ``palette`` fits pictures, (H, W, 3) uint8 BGR each."""
    black = palette.colours_rgb.index(BLACK) if BLACK in palette.colours_rgb else None
    total, counted, near, close, grey = 0, 0, 0, 0, True
    counts = np.zeros(len(palette.classes), np.int64)
    for picture in pictures:
        pixels = np.ascontiguousarray(picture[_step(picture, 0), _step(picture, 1)])
        ids = palette.to_ids(pixels)
        distance = np.abs(pixels.astype(np.int16) - palette.paint(ids)).max(axis=2)  # (H, W)
        counts_here = (ids != black) | (distance > NEAR_LEVELS)
        total += counts_here.size
        counted += int(counts_here.sum())
        near += int((counts_here & (distance <= NEAR_LEVELS)).sum())
        close += int((counts_here & (distance <= CLOSE_LEVELS)).sum())
        counts += np.bincount(ids[counts_here & (distance <= CLOSE_LEVELS)], minlength=len(counts))
        grey = grey and is_grey(pixels)
    return PaletteFit(
        near=near / max(counted, 1),
        close=close / max(counted, 1),
        classes=int((counts > SEEN_SHARE * counted).sum()),
        black=counted < total,
        grey=grey,
        colourful=not is_grey(palette.colours_bgr()[None]),
    )


def is_grey(picture: Image, levels: int = GREY_LEVELS) -> bool:
    """Tell whether the channels of all pixels, (H, W, 3), differ by at most ``levels``."""
    return int(np.ptp(picture, axis=2).max(initial=0)) <= levels


def _step(picture: Image, axis: int) -> slice:
    return slice(None, None, max(1, picture.shape[axis] // MAX_SIDE))
