"""Outlines that several things share."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CORNERS", "circle", "upright"]

CORNERS = 24


def upright(
    x_m: float, z_m: float, left: float, right: float, low: float, high: float
) -> list[tuple[float, float, float]]:
    """Return a rectangle that faces the camera; left and right count from ``x_m``."""
    return [
        (x_m + left, low, z_m),
        (x_m + left, high, z_m),
        (x_m + right, high, z_m),
        (x_m + right, low, z_m),
    ]


@lru_cache(maxsize=1)
def circle() -> NDArray[np.float64]:
    """Return a circle of radius 1 as a polygon, (24, 2)."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)
