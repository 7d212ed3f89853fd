"""The label map and the photo of a scene, painted at the same time; materials and light."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import CITYSCAPES

from .geometry import Array, Camera

__all__ = [
    "HAZE", "SUN", "Canvas", "Colour", "Shader", "flat", "hazed", "noise", "noise_table", "rgb",
    "shaded",
]  # fmt: skip

Colour = tuple[float, float, float]
"""Blue, green, red, each 0-1."""

Paint = Callable[[Array, Array], Array]
"""From points (n, 3) m and their distances (n,) m to colours (n, 3) BGR 0-1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shader:
    """How a surface looks in the photo, and what it is for other ways of lighting it.

    Attributes:
        paint: its colours in the photo.
        colour: its own colour.
        material: what it is made of, such as ``brick`` or ``glass``.
        size_m: height of a house front, or radius of a ball of leaves; 0 for all others.
        middle_m: (x, y) of a ball of leaves.
    """

    paint: Paint
    colour: Colour
    material: str = "plain"
    size_m: float = 0.0
    middle_m: tuple[float, float] = (0.0, 0.0)


SUN = np.array([-0.42, 0.84, -0.34]) / np.linalg.norm([-0.42, 0.84, -0.34])
"""Unit vector to the sun: left, high and behind the camera, in every scene."""

HAZE: Colour = (0.86, 0.82, 0.78)
HAZE_M = 190.0
"""Distance at which haze has replaced 63 % of a colour."""

SHADE = 0.58
"""Share of the light that reaches shaded surfaces."""

NOISE_CELLS = 256
"""Side of the table of noise."""


class Canvas:
    """A label map and a photo, painted far to near.

    Attributes:
        camera: the view.
        ids: (H, W) uint8, Cityscapes class indices.
        photo: (H, W, 3) float32 BGR, 0-1.
        origin_m: (x, z) of the thing whose polygons follow; textures of things move with it.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.origin_m = (0.0, 0.0)
        self.ids = np.zeros((camera.height_px, camera.width_px), np.uint8)
        self.photo = np.zeros((camera.height_px, camera.width_px, 3), np.float32)

    def polygon(self, corners_m: Any, label: str, shader: Shader) -> None:
        """Paint a flat polygon, (n, 3) m, with a class's label and a shader's colours."""
        corners = np.asarray(corners_m, np.float64)
        rows, columns = self._covered(corners)
        if not len(rows):
            return
        points, distance_m = self._hit(corners, rows, columns)
        self.ids[rows, columns] = CITYSCAPES.classes.index(label)
        self.photo[rows, columns] = hazed(shader.paint(points, distance_m), distance_m)

    def shade(self, polygons_m: Iterable[Any]) -> None:
        """Darken the photo, not the label map, under polygons (n, 3) m; overlaps count once."""
        dark = np.zeros(self.ids.shape, bool)
        for corners in polygons_m:
            dark[self._covered(np.asarray(corners, np.float64))] = True
        self.photo[dark] *= SHADE

    def varied(self, colour: Colour, variant: float) -> Colour:
        """Return the colour of one car, house or shirt of many; here, all are alike."""
        return colour

    def _covered(self, corners: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows and columns of the pixels under a polygon."""
        outline = self.camera.outline(corners)
        if not len(outline):
            return np.empty(0, np.intp), np.empty(0, np.intp)
        limits = np.array([self.camera.width_px, self.camera.height_px])
        low = np.clip(np.floor(outline.min(axis=0)), 0, limits).astype(int)
        high = np.clip(np.ceil(outline.max(axis=0)) + 1, low, limits).astype(int)
        mask = np.zeros(np.flip(high - low), np.uint8)
        fixed = np.round((outline - low - 0.5) * 16).astype(np.int32)  # 4 fractional bits
        if mask.size:
            cv2.fillPoly(mask, [fixed[:, None]], 1, shift=4)
        rows, columns = np.nonzero(mask)
        return rows + low[1], columns + low[0]

    def _hit(
        self, corners: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        """Return the points where the pixels' rays meet the polygon's plane, and their distance."""
        normal = _normal(corners)
        rays = self.camera.rays[rows, columns]
        towards = rays @ normal
        towards = np.where(np.abs(towards) < 1e-9, 1e-9, towards)  # a plane seen edge-on
        distance_m = np.clip((corners[0] - self.camera.position_m) @ normal / towards, 0.1, 1e4)
        return self.camera.position_m + rays * distance_m[:, None], distance_m


def _normal(corners: Array) -> Array:
    (ax, ay, az), (bx, by, bz) = corners[1] - corners[0], corners[2] - corners[1]
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def hazed(colours: Array, distance_m: Array) -> Array:
    """Mix colours (n, 3) with haze by their distances (n,) m."""
    clear = np.exp(-distance_m / HAZE_M)[:, None]
    return np.asarray(colours * clear + np.array(HAZE) * (1 - clear))


def rgb(red: int, green: int, blue: int) -> Colour:
    """Return a colour given as red, green, blue, 0-255."""
    return blue / 255, green / 255, red / 255


def flat(colour: Colour, material: str = "plain") -> Shader:
    """Return a shader of one colour everywhere."""

    def paint(points: Array, _: Array) -> Array:
        return np.broadcast_to(np.array(colour), points.shape)

    return Shader(paint=paint, colour=colour, material=material)


def shaded(
    colour: Colour,
    normal: tuple[float, float, float],
    rough: float = 0.0,
    material: str = "plain",
) -> Shader:
    """Return a shader of one colour, lit by sun and sky by the direction of the surface.

    ``normal`` is a unit vector away from the surface, ``rough`` the amount of noise, 0-1.
    """
    light = 0.62 + 0.48 * max(float(np.dot(normal, SUN)), 0.0) + 0.06 * normal[1]

    def paint(points: Array, distance_m: Array) -> Array:
        grain = noise(points[:, 0] + points[:, 2], points[:, 1] + points[:, 2], 6.0)
        amount = light * (1 + rough * grain * np.minimum(1, 10 / distance_m))
        return np.array(colour) * amount[:, None]

    return Shader(paint=paint, colour=colour, material=material)


def noise(across: Array, along: Array, cells_per_m: float, *, smooth: bool = False) -> Array:
    """Return cloudy noise (n,) of about -1 to 1, fixed to places in the world, (n,) m each.

    ``smooth`` interpolates between cells, for cells larger than a pixel.
    """
    table = noise_table()
    across, along = across * cells_per_m, along * cells_per_m
    left, top = np.floor(across).astype(np.int64), np.floor(along).astype(np.int64)
    row, column = top % NOISE_CELLS, left % NOISE_CELLS
    after, beside = (top + 1) % NOISE_CELLS, (left + 1) % NOISE_CELLS
    here = table[row, column]
    if not smooth:
        return here
    right, down = across - left, along - top
    upper = here + right * (table[row, beside] - here)
    below = table[after, column]
    lower = below + right * (table[after, beside] - below)
    return upper + down * (lower - upper)


@lru_cache(maxsize=1)
def noise_table() -> Array:
    """Return white noise filtered with 1/f: clouds on every scale, continuous across the edges."""
    white = np.random.default_rng(7).standard_normal((NOISE_CELLS, NOISE_CELLS))
    frequency = np.fft.fftfreq(NOISE_CELLS)
    falloff = 1 / np.maximum(np.hypot(frequency[:, None], frequency[None]), 1 / NOISE_CELLS)
    cloudy = np.fft.ifft2(np.fft.fft2(white) * falloff).real
    return np.asarray(cloudy / (2.5 * cloudy.std()))
