"""Things in a street: people, trees, lamps, traffic lights and signs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

import cv2
import numpy as np

from .canvas import SUN, Canvas, Colour, Shader, flat, noise, rgb, shaded
from .geometry import CORNERS, Array, at_depth, circle, upright
from .street import Kind, Thing
from .vehicles import paint_vehicle

__all__ = ["paint_thing", "thing_shadow"]

DARK, METAL, WHITE = rgb(30, 32, 34), rgb(120, 124, 126), rgb(232, 232, 226)
BARK, LEAVES = rgb(92, 72, 54), rgb(92, 124, 48)
SKIN, HAIR = rgb(205, 160, 132), rgb(62, 46, 36)
RED, BLUE, NAVY = rgb(176, 58, 52), rgb(64, 96, 128), rgb(54, 56, 72)
TO_CAMERA = (0.0, 0.0, -1.0)
BALLS = 9
"""Number of balls of leaves in a crown."""

Paint = Callable[[Canvas, Thing], None]


def paint_thing(canvas: Canvas, thing: Thing) -> None:
    """Paint one thing; call it far to near."""
    paint, _, visible_m = _KINDS[thing.kind]
    canvas.origin_m = (thing.x_m, thing.z_m)
    if -12 < thing.z_m - canvas.camera.position_m[2] < visible_m:
        paint(canvas, thing)


def thing_shadow(thing: Thing) -> Array:
    """Return a thing's shadow, a polygon on the ground, (n, 3) m."""
    width, length, bottom, top = _KINDS[thing.kind][1]
    x_m, z_m = thing.x_m, thing.z_m
    corners = [
        (x_m + side * width / 2 - up * SUN[0] / SUN[1], z_m + end - up * SUN[2] / SUN[1])
        for side, end, up in product((-1, 1), (0, length), (bottom, top))
    ]
    hull = cv2.convexHull(np.array(corners, np.float32))[:, 0]
    return np.insert(hull.astype(np.float64), 1, 0.0, axis=1)  # (n, 2) x, z -> (n, 3) x, y, z


def _paint_cyclist(canvas: Canvas, thing: Thing) -> None:
    frame = upright(thing.x_m, thing.z_m, -0.05, 0.05, 0.0, 0.7)
    handlebar = upright(thing.x_m, thing.z_m, -0.28, 0.28, 0.98, 1.04)
    _paint_body(canvas, thing, "rider", lift_m=0.22)
    for part in (frame, handlebar):
        canvas.polygon(part, "bicycle", flat(DARK))


def _paint_body(
    canvas: Canvas, thing: Thing, label: str = "person", *, lift_m: float = 0.0
) -> None:
    """Paint a walking or pedalling body from legs to hair; red shirts face the camera."""
    scale = 0.92 + 0.16 * thing.variant
    shirt = canvas.varied(RED if thing.heading < 0 else BLUE, thing.variant)

    def part(outline: Iterable[tuple[float, float]], colour: Colour) -> None:
        corners = [(thing.x_m + scale * x, scale * y + lift_m, thing.z_m) for x, y in outline]
        canvas.polygon(corners, label, shaded(colour, TO_CAMERA, rough=0.2, material="cloth"))

    swing = 0.16 * np.sin(2 * np.pi * thing.phase)
    for side, step in ((-1, swing), (1, -swing)):
        foot, hand, lift = side * 0.1 + step / 2, side * 0.25 - 0.4 * step, max(0.4 * step, 0.0)
        hip, shoulder = side * 0.1, side * 0.21
        part(((hip - 0.1, 0.9), (hip + 0.1, 0.9), (foot + 0.06, lift), (foot - 0.06, lift)), NAVY)
        part(((shoulder, 1.46), (side * 0.26, 1.42), (hand + 0.05, 0.82), (hand, 0.82)), shirt)
    part(((-0.2, 1.46), (-0.17, 0.85), (0.17, 0.85), (0.2, 1.46), (0, 1.55)), shirt)
    part(circle() * (0.11, 0.14) + (0, 1.66), SKIN)
    part(circle()[: CORNERS // 2 + 1] * (0.12, 0.1) + (0, 1.71), HAIR)


def _paint_tree(canvas: Canvas, thing: Thing) -> None:
    height = 4.2 + 3.2 * thing.variant
    trunk = upright(thing.x_m, thing.z_m, -0.13, 0.13, 0.0, height * 0.6)
    canvas.polygon(trunk, "vegetation", shaded(BARK, TO_CAMERA, rough=0.3, material="bark"))
    random = np.random.default_rng(int(thing.variant * 2**31))
    angles, reaches = random.uniform(0, 2 * np.pi, BALLS), random.uniform(0.1, 1, BALLS) ** 0.5
    outlines = circle() * random.uniform(0.8, 1.15, (BALLS, CORNERS, 1))
    far = thing.z_m - canvas.camera.position_m[2] > 45  # every other ball is enough
    for index in range(0, BALLS, 2 if far else 1):  # higher balls are in front of lower ones
        level, reach = index / (BALLS - 1), reaches[index] * 0.23 * height
        x_m = thing.x_m + reach * np.cos(angles[index])
        y_m = height * (0.62 + 0.24 * level) + 0.3 * reach * np.sin(angles[index])
        radius = height * (0.2 - 0.07 * level)
        ball = at_depth(outlines[index] * radius + (x_m, y_m), thing.z_m)
        canvas.polygon(ball, "vegetation", _leaves(x_m, y_m, radius))


def _leaves(x_m: float, y_m: float, radius: float) -> Shader:
    """Return a shader of a ball of leaves, light on the sunny side, dark on the other."""

    def paint(points: Array, distance_m: Array) -> Array:
        across, up = (points[:, 0] - x_m) / radius, (points[:, 1] - y_m) / radius
        sunny = 0.5 * (across * SUN[0] + up * SUN[1])
        light = 0.9 + 0.5 * sunny + 0.3 * noise(points[:, 0], points[:, 1], 9.0)
        return np.asarray(np.array(LEAVES) * np.clip(light, 0.3, 1.6)[:, None])

    return Shader(paint=paint, colour=LEAVES, material="leaves", size_m=radius, middle_m=(x_m, y_m))


def _paint_lamp(canvas: Canvas, thing: Thing) -> None:
    _paint_post(canvas, thing, half=0.08, height=6.6)
    left, right = sorted((0.0, thing.heading * 1.7))
    arm = upright(thing.x_m, thing.z_m, left, right, 6.45, 6.6)
    canvas.polygon(arm, "pole", shaded(METAL, TO_CAMERA, material="metal"))
    left, right = sorted((thing.heading * 1.2, thing.heading * 1.9))
    canvas.polygon(upright(thing.x_m, thing.z_m, left, right, 6.34, 6.5), "pole", flat(WHITE))


def _paint_traffic_light(canvas: Canvas, thing: Thing) -> None:
    _paint_post(canvas, thing, half=0.07, height=2.4)
    case = upright(thing.x_m, thing.z_m, -0.22, 0.22, 2.3, 3.35)
    canvas.polygon(case, "traffic light", flat(DARK))
    for up, colour in ((3.13, rgb(228, 48, 40)), (2.82, rgb(84, 62, 20)), (2.51, rgb(24, 66, 40))):
        lamp = circle() * 0.13 + (thing.x_m, up)
        canvas.polygon(at_depth(lamp, thing.z_m), "traffic light", flat(colour, "lamp"))


def _paint_sign(canvas: Canvas, thing: Thing) -> None:
    _paint_post(canvas, thing, half=0.05, height=2.3)
    disc = thing.variant < 0.5
    shape = circle() if disc else circle()[CORNERS // 8 :: CORNERS // 4]  # a square's corners
    rim, face = (rgb(196, 32, 36), WHITE) if disc else (WHITE, rgb(34, 84, 166))
    for size, colour in ((0.42, rim), (0.3, face)):
        plate = at_depth(shape * size + (thing.x_m, 2.5), thing.z_m)
        canvas.polygon(plate, "traffic sign", flat(colour))


def _paint_post(canvas: Canvas, thing: Thing, *, half: float, height: float) -> None:
    post = upright(thing.x_m, thing.z_m, -half, half, 0.0, height)
    canvas.polygon(post, "pole", shaded(METAL, TO_CAMERA, material="metal"))


_KINDS: dict[Kind, tuple[Paint, tuple[float, float, float, float], float]] = {
    "bus": (paint_vehicle, (2.5, 11.0, 0.0, 3.0), 120.0),
    "car": (paint_vehicle, (1.8, 4.3, 0.0, 1.3), 120.0),
    "cyclist": (_paint_cyclist, (0.4, 0.3, 0.0, 1.8), 60.0),
    "lamp": (_paint_lamp, (0.14, 0.1, 0.0, 6.5), 120.0),
    "person": (_paint_body, (0.4, 0.3, 0.0, 1.7), 60.0),
    "sign": (_paint_sign, (0.1, 0.1, 0.0, 2.6), 80.0),
    "traffic light": (_paint_traffic_light, (0.2, 0.2, 0.0, 3.2), 120.0),
    "tree": (_paint_tree, (2.6, 2.6, 2.4, 5.0), 120.0),
    "truck": (paint_vehicle, (2.4, 7.0, 0.0, 3.2), 120.0),
}
"""How to paint each kind; width, length, lowest and highest point of the box that casts its shadow;
distance beyond which it is smaller than a pixel or two; all in metres."""
