"""Fixed pattern: marks that a generator stamps on every picture at the same places.

Image sensors have the same fault, called fixed-pattern noise, and it is measured as there: what
is left of many pictures of a plain surface when they are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FixedPattern"]

WINDOW_PX = 33
"""Brightness is taken against its mean in such a square, where all of that has one label. Marks of
a U-Net stand 16, 32 or 64 px apart; what is wider than the square is shading, and left out."""

LEAST_SHARE = 0.02
"""A label that covers less of a picture has no plain surface in it."""

LEAST_PICTURES = 8
"""Places where fewer pictures show a label's surface say nothing about that label."""


@dataclass(frozen=True, slots=True)
class _Surface:
    """Sums over the pictures that show one label's surface at a place, (H, W) each."""

    pictures: NDArray[np.float64]
    levels: NDArray[np.float64]
    squares: NDArray[np.float64]

    def weight(self) -> float:
        """Return how many pictures there are of all places that enough pictures show."""
        return float(self.pictures[self.pictures >= LEAST_PICTURES].sum())

    def square_sum(self) -> float:
        """Return the pattern's square, summed over these pictures; chance may leave it below 0."""
        enough = self.pictures >= LEAST_PICTURES
        pictures = self.pictures[enough]
        mean = self.levels[enough] / pictures
        by_chance = (self.squares[enough] / pictures - mean**2) / (pictures - 1)
        return float((pictures * (mean**2 - by_chance)).sum())


class FixedPattern:
    """The brightness, in levels, that surfaces have at a place in every picture.

    Of each label and each place, the mean over the pictures would be zero if their texture lay
    anywhere. Its mean square, less what chance leaves in a mean of so few pictures, is the
    pattern's; the root of it over all labels and places is the figure. Real photos have some:
    a car's bonnet, a lane's middle, a lens.
    """

    def __init__(self) -> None:
        self._surfaces: dict[int, _Surface] = {}

    def add(self, label: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Take a picture: label and image, (H, W, 3) uint8 BGR, the label without noise."""
        codes = label.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)  # (H, W)
        luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
        texture = luma - cv2.blur(luma, (WINDOW_PX, WINDOW_PX))
        window = np.ones((WINDOW_PX, WINDOW_PX), np.uint8)
        for code, pixels in zip(*np.unique(codes, return_counts=True), strict=True):
            if pixels < LEAST_SHARE * codes.size:
                continue
            plain = cv2.erode((codes == code).astype(np.uint8), window).view(np.bool_)
            if code not in self._surfaces:
                self._surfaces[code] = _Surface(*(np.zeros(codes.shape) for _ in range(3)))
            surface = self._surfaces[code]
            surface.pictures[plain] += 1
            surface.levels[plain] += texture[plain]
            surface.squares[plain] += texture[plain] ** 2

    def picture(self) -> NDArray[np.float64]:
        """Return the pattern of the label with most surface, in levels above and below its mean.

        Returns:
            (H, W) float64, NaN where too few pictures show that label's surface.

        Raises:
            ValueError: no picture shows any.
        """
        surface = max(self._surfaces.values(), key=lambda one: float(one.pictures.sum()))
        enough = surface.pictures >= LEAST_PICTURES
        return np.where(enough, surface.levels / np.maximum(surface.pictures, 1), np.nan)

    def levels(self) -> float | None:
        """Return the figure; None when too few pictures share a surface."""
        return _root_mean(self._surfaces.values())

    def of_colours(self) -> dict[int, float]:
        """Return the figure of each label, by its colour as 0xRRGGBB, most surface first."""
        ordered = sorted(self._surfaces.items(), key=lambda one: -one[1].weight())
        figures = {int(code): _root_mean([surface]) for code, surface in ordered}
        return {code: levels for code, levels in figures.items() if levels is not None}


def _root_mean(surfaces: Iterable[_Surface]) -> float | None:
    surfaces = list(surfaces)
    weight = sum(surface.weight() for surface in surfaces)
    square = sum(surface.square_sum() for surface in surfaces)
    return math.sqrt(max(square, 0.0) / weight) if weight else None
