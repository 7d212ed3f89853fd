"""Fixed-pattern noise: texture that a generator repeats at the same places of every picture.

The measure is that for image sensors: what remains of many pictures of a plain surface when they
are averaged.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FixedPattern"]

WINDOW_PX = 33
"""Side of the square whose mean brightness is subtracted, where all of it has one label. Patterns
of a U-Net have periods of 16, 32 or 64 px; what is wider than the square counts as shading."""

MIN_LABEL_SHARE = 0.02
"""Minimum share of a picture that a label covers; smaller ones have no plain surface."""

MIN_PICTURES = 8
"""Minimum number of pictures that show a label's surface at a place, for that place to count."""


class FixedPattern:
    """Root mean square, in levels, of the texture that pictures have in common at each place.

    Texture is brightness less its local mean. For each label and place it is averaged over the
    pictures; texture at random places averages to zero. The figure is the root of the mean square
    of these averages, without the bias of averaging few pictures. Real photos have some, too: a
    car's bonnet, road markings, the lens.
    """

    def __init__(self) -> None:
        # For each label, (3, H, W) sums over the pictures that show its surface at a place: their
        # number, their levels, the squares of these
        self.surfaces: dict[int, NDArray[np.float64]] = {}

    def add(self, label: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Add a picture: label and image, (H, W, 3) uint8 BGR, the label without noise."""
        keys = label.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)  # (H, W) 0xRRGGBB
        luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        texture = luma - cv2.blur(luma, (WINDOW_PX, WINDOW_PX))
        window = np.ones((WINDOW_PX, WINDOW_PX), np.uint8)
        for key, pixels in zip(*np.unique(keys, return_counts=True), strict=True):
            if pixels < MIN_LABEL_SHARE * keys.size:
                continue
            plain = cv2.erode((keys == key).astype(np.uint8), window).view(np.bool_)
            surface = self.surfaces.setdefault(int(key), np.zeros((3, *keys.shape)))
            surface[0][plain] += 1
            surface[1][plain] += texture[plain]
            surface[2][plain] += texture[plain] ** 2

    def levels(self) -> float | None:
        """Return the figure; None if too few pictures share a surface."""
        sums = [_sums(surface) for surface in self.surfaces.values()]
        weight, square = sum(w for w, _ in sums), sum(s for _, s in sums)
        return math.sqrt(max(square, 0.0) / weight) if weight else None


def _sums(surface: NDArray[np.float64]) -> tuple[float, float]:
    """Return pictures and the pattern's square, summed over the places that enough pictures show.

    The square has no bias, so it can be below 0: the variance of a mean of so few is subtracted.
    """
    pictures, levels, squares = surface[:, surface[0] >= MIN_PICTURES]  # (n,) each
    mean = levels / pictures
    variance_of_mean = (squares / pictures - mean**2) / (pictures - 1)
    return float(pictures.sum()), float((pictures * (mean**2 - variance_of_mean)).sum())
