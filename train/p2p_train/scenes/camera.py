"""A pinhole camera in a world of metres: x to the right, y up, z along the street."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Camera"]


PLANES = np.array([(0, 0, 1), (1, 0, 4), (-1, 0, 4), (0, 1, 4), (0, -1, 4)], np.float64)
LEAST = np.array([0.5, 0, 0, 0, 0])
"""What is nearer than half a metre, or further to a side than four times its distance, is cut."""


@dataclass(frozen=True, kw_only=True)  # no slots: the cached properties need a __dict__
class Camera:
    """Where the picture is taken from.

    Attributes:
        position_m: (x, y, z) of the lens.
        yaw_rad, pitch_rad: turned to the right, tilted down.
        focal_px: focal length.
        horizon: height of the horizon in an untilted picture, as a share of the picture's height.
        height_px, width_px: size of the picture.
    """

    position_m: tuple[float, float, float]
    yaw_rad: float
    pitch_rad: float
    focal_px: float
    horizon: float
    height_px: int
    width_px: int

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """The lens, (3,)."""
        return np.array(self.position_m)

    @cached_property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3), from world axes to right, up and forward."""
        sin_yaw, cos_yaw = np.sin(self.yaw_rad), np.cos(self.yaw_rad)
        sin_pitch, cos_pitch = np.sin(self.pitch_rad), np.cos(self.pitch_rad)
        yaw = np.array([[cos_yaw, 0, -sin_yaw], [0, 1, 0], [sin_yaw, 0, cos_yaw]])
        pitch = np.array([[1, 0, 0], [0, cos_pitch, sin_pitch], [0, -sin_pitch, cos_pitch]])
        turned: NDArray[np.float64] = pitch @ yaw
        return turned

    def outline(self, corners_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project a polygon (n, 3) m; return what of it is in view, (k, 2) px (x, y)."""
        seen = (corners_m - self.position) @ self.rotation.T
        inside = seen @ PLANES.T - LEAST  # (n, 5)
        if inside.min() < 0:
            if (inside.max(axis=0) < 0).any():
                return np.empty((0, 2))
            for plane, least in zip(PLANES, LEAST, strict=True):
                seen = _clip(seen, plane, least)
        columns = self.width_px / 2 + self.focal_px * seen[:, 0] / seen[:, 2]
        rows = self.height_px * self.horizon - self.focal_px * seen[:, 1] / seen[:, 2]
        return np.stack([columns, rows], axis=-1)

    @cached_property
    def rays(self) -> NDArray[np.float64]:
        """(H, W, 3), the direction that each pixel looks in, 1 m long along the optical axis."""
        rows, columns = np.indices((self.height_px, self.width_px))
        right = (columns + 0.5 - self.width_px / 2) / self.focal_px
        up = (self.height_px * self.horizon - rows - 0.5) / self.focal_px
        forward = np.ones_like(right)
        directions: NDArray[np.float64] = np.stack([right, up, forward], axis=-1) @ self.rotation
        return directions


def _clip(
    corners: NDArray[np.float64], plane: NDArray[np.float64], least: float
) -> NDArray[np.float64]:
    """Keep what of a polygon (n, 3) has ``corner @ plane >= least`` (Sutherland and Hodgman)."""
    inside = corners @ plane - least
    kept = []
    for index, here in enumerate(corners):
        after = (index + 1) % len(corners)
        if inside[index] >= 0:
            kept.append(here)
        if (inside[index] >= 0) != (inside[after] >= 0):
            share = inside[index] / (inside[index] - inside[after])
            kept.append(here + share * (corners[after] - here))
    return np.array(kept) if len(kept) >= 3 else np.empty((0, 3))
