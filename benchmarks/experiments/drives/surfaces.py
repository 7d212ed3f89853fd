"""What each pixel of a scene shows: its surface and its place on it, to be lit in several ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.scenes.canvas import Canvas, Colour, Shader
from p2p_train.scenes.geometry import LIMITS, PLANES, Array, Camera

__all__ = ["GROUND", "MATERIALS", "SKY", "Floats", "SurfaceCanvas", "View", "lookup"]

Floats = NDArray[np.float32]

SKY, GROUND = 0, 1
"""Numbers of the first two surfaces; the polygons follow."""

MATERIALS = (
    *("sky", "ground", "plain", "plaster", "brick", "stone", "concrete", "tiles", "leaves"),
    *("palings", "bark", "cloth", "metal", "enamel", "glass", "lamp"),
)
"""What surfaces can be made of."""

LEAF_M = 0.13
"""Mean length of the steps of a ragged outline."""

MAX_STEPS = 160
"""Maximum number of steps of a ragged outline."""

RAGGED_M = 60.0
"""Distance up to which outlines are ragged."""

PAINTS = (
    *((0.16, 0.16, 0.17), (0.72, 0.72, 0.74), (0.86, 0.87, 0.88), (0.40, 0.42, 0.44)),
    *((0.44, 0.20, 0.10), (0.10, 0.09, 0.48), (0.26, 0.30, 0.14), (0.20, 0.34, 0.62)),
)
"""Colours of cars and shirts, BGR 0-1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The visible surface at each pixel; all arrays are (H, W) unless said otherwise.

    Attributes:
        surface: number of the polygon, or :data:`SKY` or :data:`GROUND`.
        material: index in :data:`MATERIALS`.
        labels: index of the Cityscapes class; the ground's is that of roads.
        colour: the surfaces' own colours, (3, H, W) BGR 0-1.
        rays: directions, (3, H, W), 1 m long along the optical axis.
        place: points in the world, (3, H, W) m.
        distance_m: along the optical axis.
        normal: unit vectors towards the camera's side, (3, H, W).
        across, up: position on the surface in metres, which moves with it.
        size_m: height of a front, radius of a ball of leaves, or 0.
        round_x, round_y: position within a ball of leaves, -1 to 1.
        shadow, dappled: share of the ground's sun that things and crowns of trees take, 0-1.
        horizon_row: of the horizon, in pixels.
    """

    surface: NDArray[np.intp]
    material: NDArray[np.intp]
    labels: NDArray[np.uint8]
    colour: Floats
    rays: Floats
    place: Floats
    distance_m: Floats
    normal: Floats
    across: Floats
    up: Floats
    size_m: Floats
    round_x: Floats
    round_y: Floats
    shadow: Floats
    dappled: Floats
    horizon_row: float


@dataclass(slots=True)
class _Faces:
    """Columns of the table of polygons."""

    corners: list[Array] = field(default_factory=list)
    normals: list[Array] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)


class SurfaceCanvas(Canvas):
    """Records polygons, and fills them all at once; nothing is shaded that is not seen."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.origin_m = (0.0, 0.0)
        self._faces = _Faces()
        self._shadows: list[Any] = []
        self._crowns: list[Any] = []
        for label, material in (("sky", "sky"), ("road", "ground")):
            corners = np.array([(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 1.0)])
            self._add(corners, label, Shader(paint=_unused, colour=(0, 0, 0), material=material))

    def polygon(self, corners_m: Any, label: str, shader: Shader) -> None:
        """Record a flat polygon, (n, 3) m; the outlines of leaves become ragged."""
        corners = np.asarray(corners_m, np.float64)
        self._add(corners, label, shader)

    def _add(self, corners: Array, label: str, shader: Shader) -> None:
        (ax, ay, az), (bx, by, bz) = corners[1] - corners[0], corners[2] - corners[1]
        normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
        normal /= max(float(np.sqrt(normal @ normal)), 1e-12)
        if (self.camera.position_m - corners[0]) @ normal < 0:
            normal = -normal
        faces = self._faces
        near = corners[0, 2] - self.camera.position_m[2] < RAGGED_M
        ragged = shader.material == "leaves" and near
        faces.corners.append(_ragged_outline(corners.tobytes()) if ragged else corners)
        faces.normals.append(normal)
        faces.values.append(
            (
                *(CITYSCAPES.classes.index(label), MATERIALS.index(shader.material)),
                *(*shader.colour, *self.origin_m, shader.size_m, *shader.middle_m),
            )
        )

    def shade(self, polygons_m: Iterable[Any]) -> None:
        """Record shadows on the ground, (n, 3) m each."""
        self._shadows += polygons_m

    def shade_by_leaves(self, polygons_m: Iterable[Any]) -> None:
        """Record shadows with sunny spots."""
        self._crowns += polygons_m

    def varied(self, colour: Colour, variant: float) -> Colour:
        """Return the colour of one car, house or shirt of many."""
        first, second = ((np.sin(variant * k + k) * 43758.5453) % 1.0 for k in (12.9898, 78.233))
        if max(colour) - min(colour) < 0.2 or variant < 1:  # cars and shirts
            blue, green, red = PAINTS[int(first * len(PAINTS))]
            return blue, green, red
        blue, green, red = (c * (0.82 + 0.36 * first) for c in colour)
        return blue * (0.85 + 0.3 * second), green, red * (1.06 - 0.12 * second)

    def view(self) -> View:
        """Fill all that was recorded, far to near, and return what each pixel shows."""
        camera, faces = self.camera, self._faces
        height, width = camera.height_px, camera.width_px
        rays = _rays(camera)
        filled = np.where(rays[1] < -1e-3, np.int32(GROUND), np.int32(SKY))
        self._fill(filled, faces.corners[2:], range(2, len(faces.corners)))
        shadows = np.zeros((2, height, width), np.float32)
        for mask, polygons in zip(shadows, (self._shadows, self._crowns), strict=True):
            self._fill(mask, [np.asarray(p, np.float64) for p in polygons], [1] * len(polygons))
        surface = filled.astype(np.intp)

        table = np.array(faces.values, np.float32)
        normals, position = np.array(faces.normals), camera.position_m
        firsts = np.stack([corners[0] for corners in faces.corners])
        offsets = ((firsts - position) * normals).sum(axis=1).astype(np.float32)
        normal = np.stack([lookup(normals[:, axis], surface) for axis in range(3)])
        towards = (rays * normal).sum(axis=0)
        towards[np.abs(towards) < 1e-6] = -1e-6  # seen edge-on
        distance_m = np.clip(lookup(offsets, surface) / towards, 0.1, 1e4)
        distance_m[surface == SKY] = 1e4
        place = rays * distance_m + position.astype(np.float32)[:, None, None]

        label, material, blue, green, red, x_m, z_m, size_m, middle_x, middle_y = table.T
        local_x, local_z = place[0] - lookup(x_m, surface), place[2] - lookup(z_m, surface)
        lies = np.abs(normal[1]) > 0.9
        sizes = lookup(size_m, surface)
        radius = np.maximum(sizes, 1e-3)
        return View(
            surface=surface,
            material=material.astype(np.intp)[surface],
            labels=label.astype(np.uint8)[surface],
            colour=np.stack([lookup(channel, surface) for channel in (blue, green, red)]),
            rays=rays,
            place=place,
            distance_m=distance_m,
            normal=normal,
            across=np.where(lies, local_x, local_x + local_z),
            up=np.where(lies, local_z, place[1]),
            size_m=sizes,
            round_x=(place[0] - lookup(middle_x, surface)) / radius,
            round_y=(place[1] - lookup(middle_y, surface)) / radius,
            shadow=shadows[0],
            dappled=shadows[1],
            horizon_row=height * camera.horizon,
        )

    def _fill(self, target: NDArray[Any], polygons: list[Array], values: Iterable[int]) -> None:
        """Fill polygons, (n, 3) m each, into (H, W), each with its value."""
        if not polygons:
            return
        camera = self.camera
        starts = np.cumsum([0, *(len(corners) for corners in polygons[:-1])])
        seen = (np.concatenate(polygons) - camera.position_m) @ camera.rotation.T
        margins = seen @ PLANES.T - LIMITS  # (all corners, 5)
        whole = np.minimum.reduceat(margins, starts, axis=0).min(axis=1) >= 0
        hidden = np.maximum.reduceat(margins, starts, axis=0).min(axis=1) < 0
        ahead = np.maximum(seen[:, 2], 0.1)
        columns = camera.width_px / 2 + camera.focal_px * seen[:, 0] / ahead
        rows = camera.height_px * camera.horizon - camera.focal_px * seen[:, 1] / ahead
        points = np.stack([columns, rows], axis=1)
        ends = [*starts[1:], len(points)]
        for index, value in enumerate(values):
            if hidden[index]:
                continue
            outline = points[starts[index] : ends[index]]
            if not whole[index]:
                outline = camera.outline(polygons[index])
            if len(outline):
                fixed = np.round((outline - 0.5) * 16).astype(np.int32)  # 4 fractional bits
                cv2.fillPoly(target, [fixed], float(value), shift=4)


def lookup(column: Any, surface: NDArray[np.intp]) -> Floats:
    """Return a surface's value at each pixel, (H, W), from values by surface, (n,)."""
    return np.asarray(column, np.float32)[surface]


def _rays(camera: Camera) -> Floats:
    right = (np.arange(camera.width_px) + 0.5 - camera.width_px / 2) / camera.focal_px
    rows = np.arange(camera.height_px)
    up = (camera.height_px * camera.horizon - rows - 0.5) / camera.focal_px
    rotation = camera.rotation.astype(np.float32)
    across, down = right.astype(np.float32)[None], up.astype(np.float32)[:, None]
    return np.stack(
        [across * rotation[0, k] + (down * rotation[1, k] + rotation[2, k]) for k in range(3)]
    )


@lru_cache(maxsize=4096)
def _ragged_outline(content: bytes) -> Array:
    """Return an outline in small steps that leave the straight line, by places in the world."""
    corners = np.frombuffer(content).reshape(-1, 3)
    edges = np.roll(corners, -1, axis=0) - corners
    lengths = np.sqrt((edges**2).sum(axis=1))
    step_m = max(LEAF_M, float(lengths.sum()) / MAX_STEPS)
    counts = np.maximum((lengths / step_m).astype(int), 1)
    shares = np.concatenate([np.arange(n) / n for n in counts])[:, None]
    points = np.repeat(corners, counts, axis=0) + shares * np.repeat(edges, counts, axis=0)
    wild = points @ np.array([[12.9898, 45.164], [78.233, 94.673], [37.719, 61.117]])
    shift = np.sin(wild) * 43758.5453 % 1.0 - 0.5  # (n, 2): along the surface and up
    along = edges[np.argmax(np.abs(edges[:, [0, 2]]).sum(axis=1))] * (1, 0, 1)
    along /= max(float(np.sqrt(along @ along)), 1e-9)
    points += (1.4 * LEAF_M) * shift[:, :1] * along
    points[:, 1] += np.where(points[:, 1] > 0.3, (1.4 * LEAF_M) * shift[:, 1], 0)
    return np.asarray(points)


def _unused(points: Array, distance_m: Array) -> Array:
    return points
