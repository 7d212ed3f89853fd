"""A pinhole camera and simple outlines, in metres: x to the right, y up, z along the street."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CORNERS", "Array", "Camera", "at_depth", "circle", "upright", "wall_along"]

Array = NDArray[np.float64]

CORNERS = 24
"""Number of corners of a circle."""

PLANES = np.array([(0, 0, 1), (1, 0, 4), (-1, 0, 4), (0, 1, 4), (0, -1, 4)], np.float64)
LIMITS = np.array([0.5, 0, 0, 0, 0])
"""Limits of the view: half a metre ahead, four times the distance to each side."""


@dataclass(frozen=True, kw_only=True)  # no slots: the cached properties need a __dict__
class Camera:
    """A pinhole camera.

    Attributes:
        position_m: (x, y, z) of the lens, (3,).
        yaw_rad, pitch_rad: turned to the right, tilted down.
        focal_px: focal length.
        horizon: height of the horizon in an untilted picture, as a share of the picture's height.
        height_px, width_px: size of the picture.
    """

    position_m: Array
    yaw_rad: float
    pitch_rad: float
    focal_px: float
    horizon: float
    height_px: int
    width_px: int

    @cached_property
    def rotation(self) -> Array:
        """(3, 3), from world axes to right, up and forward."""
        sin_yaw, cos_yaw = np.sin(self.yaw_rad), np.cos(self.yaw_rad)
        sin_pitch, cos_pitch = np.sin(self.pitch_rad), np.cos(self.pitch_rad)
        yaw = np.array([[cos_yaw, 0, -sin_yaw], [0, 1, 0], [sin_yaw, 0, cos_yaw]])
        pitch = np.array([[1, 0, 0], [0, cos_pitch, sin_pitch], [0, -sin_pitch, cos_pitch]])
        return np.asarray(pitch @ yaw)

    def outline(self, corners_m: Array) -> Array:
        """Project a polygon (n, 3) m; return the part in view, (k, 2) px (x, y)."""
        seen = (corners_m - self.position_m) @ self.rotation.T
        inside = seen @ PLANES.T - LIMITS  # (n, 5)
        if inside.min() < 0:
            if (inside.max(axis=0) < 0).any():
                return np.empty((0, 2))
            for plane, least in zip(PLANES, LIMITS, strict=True):
                seen = _clip(seen, plane, least)
        columns = self.width_px / 2 + self.focal_px * seen[:, 0] / seen[:, 2]
        rows = self.height_px * self.horizon - self.focal_px * seen[:, 1] / seen[:, 2]
        return np.stack([columns, rows], axis=-1)

    @cached_property
    def rays(self) -> Array:
        """Direction of each pixel, (H, W, 3), 1 m long along the optical axis."""
        rows, columns = np.indices((self.height_px, self.width_px))
        right = (columns + 0.5 - self.width_px / 2) / self.focal_px
        up = (self.height_px * self.horizon - rows - 0.5) / self.focal_px
        forward = np.ones_like(right)
        return np.stack([right, up, forward], axis=-1) @ self.rotation


@lru_cache(maxsize=1)
def circle() -> Array:
    """Return a circle of radius 1 as a polygon, (24, 2)."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def at_depth(outline: Array | Iterable[tuple[float, float]], z_m: float) -> Array:
    """Stand an outline (n, 2) m (x, y) up across the street: (n, 3) m."""
    return np.insert(np.asarray(outline, np.float64), 2, z_m, axis=1)


def upright(x_m: float, z_m: float, left: float, right: float, low: float, high: float) -> Array:
    """Return a rectangle across the street; left and right count from ``x_m``."""
    return at_depth([(x_m + x, y) for x, y in _corners(left, right, low, high)], z_m)


def wall_along(x_m: float, start: float, end: float, height: float) -> Array:
    """Return a rectangle along the street."""
    return np.array([(x_m, y, z) for z, y in _corners(start, end, 0.0, height)])


def _corners(left: float, right: float, low: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (left, high), (right, high), (right, low)]


def _clip(corners: Array, plane: Array, least: float) -> Array:
    """Keep the part of a polygon (n, 3) with ``corner @ plane >= least`` (Sutherland, Hodgman)."""
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
