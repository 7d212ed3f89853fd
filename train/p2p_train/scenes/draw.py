"""Draw one frame of a street: where the camera is, then everything from far to near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from p2p_runtime.labels.palette import CITYSCAPES

from . import surfaces, things
from .camera import Camera
from .canvas import Canvas
from .street import Street

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draw_scene"]

FINER = 2
"""Frames are painted twice as large, so that the picture's edges are soft."""


def draw_scene(
    seed: int, height: int, width: int, time_s: float = 0.0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a street scene; equal arguments give equal pixels.

    Args:
        seed: picks the street, 0 or more.
        height, width: size in pixels.
        time_s: the camera, the cars and the people move on with it; equal steps of it make a
            smooth film.

    Returns:
        The label map in the Cityscapes palette and the picture, both (height, width, 3) uint8
        BGR.
    """
    street = Street.from_seed(seed)
    canvas = Canvas(_camera(street, height * FINER, width * FINER, time_s))
    _paint(canvas, street, time_s)
    label = CITYSCAPES.to_colours(canvas.ids[::FINER, ::FINER])
    return label, _develop(canvas, seed, time_s)


def _camera(street: Street, height: int, width: int, time_s: float) -> Camera:
    random = np.random.default_rng((street.seed, 99))
    sway = 0.01 * np.sin(0.7 * time_s)
    return Camera(
        position_m=(
            street.lane_m + float(random.uniform(-0.4, 0.2)),
            float(random.uniform(1.35, 1.9)) + 0.015 * np.sin(5 * time_s),
            street.speed_m_s * time_s,
        ),
        yaw_rad=float(random.uniform(-0.10, 0.06)) + sway,
        pitch_rad=float(random.uniform(0.0, 0.05)),
        focal_px=0.42 * (height + width),
        horizon=0.46,
        height_px=height,
        width_px=width,
    )


def _paint(canvas: Canvas, street: Street, time_s: float) -> None:
    camera_m = canvas.camera.position_m[2]
    found = street.things(camera_m, time_s)
    surfaces.paint_sky(canvas, time_s)
    surfaces.paint_ground(canvas, street)
    houses = [
        house for block in reversed(street.blocks(camera_m)) for house in street.buildings(block)
    ]
    shadows = [surfaces.house_shadow(street, house) for house in houses if house.side < 0]
    canvas.shade(shadows + [things.thing_shadow(thing) for thing in found])
    surfaces.paint_backdrop(canvas, street)
    for block in reversed(street.blocks(camera_m)):
        for side in (-1, 1):
            if street.is_green(block, side):
                surfaces.paint_park(canvas, street, block, side)
    for house in houses:
        surfaces.paint_house(canvas, street, house)
    for thing in found:
        things.paint_thing(canvas, thing)


def _develop(canvas: Canvas, seed: int, time_s: float) -> NDArray[np.uint8]:
    """Turn the painted light into what a small camera would have made of it."""
    height, width = (side // FINER for side in canvas.ids.shape)
    photo = cv2.resize(canvas.photo, (width, height), interpolation=cv2.INTER_AREA)
    random = np.random.default_rng((seed, round(time_s * 1000)))
    grain = random.normal(0.0, 0.008, photo.shape)
    return np.asarray(np.clip((photo + grain) * 255, 0, 255).round(), np.uint8)
