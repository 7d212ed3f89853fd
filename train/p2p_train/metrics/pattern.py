"""Fixed-pattern noise: texture that a generator repeats at the same places of every picture.

The measure is that for image sensors: what remains of many pictures of a plain surface when they
are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Surface:
    """Sums over the pictures that show one label's surface at a place, (H, W) each."""

    pictures: NDArray[np.float64]
    levels: NDArray[np.float64]
    squares: NDArray[np.float64]

    def weight(self) -> float:
        """Return the number of pictures, summed over the places that enough pictures show."""
        return float(self.pictures[self.pictures >= MIN_PICTURES].sum())

    def square_sum(self) -> float:
        """Return the pattern's square, summed over these pictures; unbiased, so it can be below 0.

        The bias is the variance of a mean of so few pictures.
        """
        enough = self.pictures >= MIN_PICTURES
        pictures = self.pictures[enough]
        mean = self.levels[enough] / pictures
        variance_of_mean = (self.squares[enough] / pictures - mean**2) / (pictures - 1)
        return float((pictures * (mean**2 - variance_of_mean)).sum())


class FixedPattern:
    """Root mean square, in levels, of the texture that pictures have in common at each place.

    Texture is brightness less its local mean. For each label and place it is averaged over the
    pictures; texture at random places averages to zero. The figure is the root of the mean square
    of these averages, without the bias of averaging few pictures. Real photos have some, too: a
    car's bonnet, road markings, the lens.
    """

    def __init__(self) -> None:
        self._surfaces: dict[int, _Surface] = {}

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
            if key not in self._surfaces:
                self._surfaces[key] = _Surface(*(np.zeros(keys.shape) for _ in range(3)))
            surface = self._surfaces[key]
            surface.pictures[plain] += 1
            surface.levels[plain] += texture[plain]
            surface.squares[plain] += texture[plain] ** 2

    def picture(self) -> NDArray[np.float64]:
        """Return the pattern of the label with most surface.

        It is (H, W) float64, levels above and below the local mean; NaN where too few pictures
        show that label's surface.

        Raises:
            ValueError: no picture shows any.
        """
        surface = max(self._surfaces.values(), key=lambda one: float(one.pictures.sum()))
        enough = surface.pictures >= MIN_PICTURES
        return np.where(enough, surface.levels / np.maximum(surface.pictures, 1), np.nan)

    def levels(self) -> float | None:
        """Return the figure; None if too few pictures share a surface."""
        return _root_mean(self._surfaces.values())

    def of_colours(self) -> dict[int, float]:
        """Return the figure of each label, by its colour as 0xRRGGBB, most surface first."""
        ordered = sorted(self._surfaces.items(), key=lambda one: -one[1].weight())
        figures = {int(key): _root_mean([surface]) for key, surface in ordered}
        return {key: levels for key, levels in figures.items() if levels is not None}


def _root_mean(surfaces: Iterable[_Surface]) -> float | None:
    surfaces = list(surfaces)
    weight = sum(surface.weight() for surface in surfaces)
    square = sum(surface.square_sum() for surface in surfaces)
    return math.sqrt(max(square, 0.0) / weight) if weight else None
