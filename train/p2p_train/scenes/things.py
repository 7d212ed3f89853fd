"""What stands and moves in a street: vehicles, people, trees, lamps, lights and signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .canvas import SUN, Canvas, Colour, Shader, flat, noise, rgb, shaded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .street import Kind, Thing

__all__ = ["paint_shadow", "paint_thing"]

DARK = rgb(34, 34, 38)
GLASS = rgb(58, 70, 84)
METAL = rgb(120, 124, 126)
SKIN = rgb(205, 160, 132)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vehicle:
    """The outline of a vehicle from the side, drawn out to its width.

    Attributes:
        label: its class.
        width_m, length_m: its size.
        outline: (along, up) m from the rear end over the roof to the front.
        glass: which stretches of the outline are windows.
        colours: of the body: seen from behind, parked or oncoming.
    """

    label: str
    width_m: float
    length_m: float
    outline: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    windows: tuple[float, float, float, float]
    colours: tuple[Colour, Colour]


VEHICLES = {
    "car": Vehicle(
        label="car",
        width_m=1.8,
        length_m=4.3,
        outline=(
            (0, 0.3),
            (0, 0.85),
            (0.15, 0.98),
            (0.7, 1.45),
            (2.3, 1.47),
            (3.1, 0.98),
            (4.2, 0.8),
            (4.3, 0.3),
        ),
        glass=(2, 4),
        windows=(0.75, 2.75, 0.98, 1.36),
        colours=(rgb(150, 42, 40), rgb(196, 200, 206)),
    ),
    "truck": Vehicle(
        label="truck",
        width_m=2.4,
        length_m=7.0,
        outline=((0, 0.5), (0, 3.3), (5.2, 3.3), (5.3, 2.6), (6.6, 2.5), (7.0, 1.5), (7.0, 0.5)),
        glass=(4,),
        windows=(5.6, 6.5, 1.5, 2.3),
        colours=(rgb(206, 204, 196), rgb(84, 118, 150)),
    ),
    "bus": Vehicle(
        label="bus",
        width_m=2.5,
        length_m=11.0,
        outline=((0, 0.4), (0, 1.3), (0.1, 2.6), (0.1, 3.1), (10.9, 3.1), (11, 1.2), (11, 0.4)),
        glass=(1, 4),
        windows=(0.6, 10.4, 1.35, 2.45),
        colours=(rgb(206, 150, 44), rgb(206, 150, 44)),
    ),
}


def paint_thing(canvas: Canvas, thing: Thing) -> None:
    """Paint one thing; things must come far to near."""
    _PAINTERS[thing.kind](canvas, thing)


def paint_shadow(canvas: Canvas, thing: Thing) -> None:
    """Darken the ground where a thing keeps the sun away."""
    width, length, bottom, top = _BULKS[thing.kind]
    z_m = thing.z_m
    corners = [
        (thing.x_m + side * width / 2 - up * SUN[0] / SUN[1], z_m + end - up * SUN[2] / SUN[1])
        for side in (-1, 1)
        for end in (0, length)
        for up in (bottom, top)
    ]
    hull = cv2.convexHull(np.array(corners, np.float32))[:, 0]
    ground = np.insert(hull.astype(np.float64), 1, 0.0, axis=1)  # (n, 2) x, z -> (n, 3) x, y, z
    canvas.shadow(ground, strength=0.4)


def _paint_vehicle(canvas: Canvas, thing: Thing) -> None:
    vehicle = VEHICLES[thing.kind]
    colour = _tinted(vehicle.colours[0 if thing.heading > 0 else 1], thing.variant)
    along = [end if thing.heading > 0 else vehicle.length_m - end for end, _ in vehicle.outline]
    outline = [(z, up) for z, (_, up) in zip(along, vehicle.outline, strict=True)]
    near = np.sign(canvas.camera.position_m[0] - thing.x_m) or 1.0
    _paint_underside(canvas, thing, vehicle)
    _paint_strips(canvas, thing, vehicle, outline, colour)
    _paint_flank(canvas, thing, vehicle, outline, colour, near)
    _paint_end(canvas, thing, vehicle)


def _paint_underside(canvas: Canvas, thing: Thing, vehicle: Vehicle) -> None:
    half, bottom = vehicle.width_m / 2 - 0.08, vehicle.outline[0][1] + 0.05
    dark = flat(rgb(20, 20, 22))
    for z_m in (thing.z_m + vehicle.length_m - 0.6, thing.z_m + 0.6):
        for left, right in ((-half, -half + 0.3), (half - 0.3, half)):
            tyre = _upright(thing.x_m, z_m, left, right, 0.0, bottom)
            canvas.polygon(tyre, vehicle.label, dark)
    belly = _upright(thing.x_m, thing.z_m + 0.4, -half, half, bottom * 0.6, bottom + 0.1)
    canvas.polygon(belly, vehicle.label, dark)


def _paint_strips(
    canvas: Canvas,
    thing: Thing,
    vehicle: Vehicle,
    outline: list[tuple[float, float]],
    colour: Colour,
) -> None:
    """Paint rear, roof, bonnet ...: each stretch of the outline over the whole width."""
    half, strips = vehicle.width_m / 2, []
    for index in range(len(outline) - 1):
        (z0, y0), (z1, y1) = outline[index], outline[index + 1]
        normal = np.array([0.0, z1 - z0, -(y1 - y0)]) * thing.heading
        normal /= np.linalg.norm(normal)
        middle = np.array([thing.x_m, (y0 + y1) / 2, thing.z_m + (z0 + z1) / 2])
        if (canvas.camera.position - middle) @ normal > 0:
            corners = [
                (thing.x_m + s * half, y, thing.z_m + z)
                for s, z, y in ((-1, z0, y0), (1, z0, y0), (1, z1, y1), (-1, z1, y1))
            ]
            strips.append((middle[2], corners, normal, index in vehicle.glass))
    for _, corners, normal, glass in sorted(strips, key=lambda strip: -strip[0]):
        facing = (0.0, float(normal[1]), float(normal[2]))
        shader = shaded(GLASS if glass else colour, facing)
        canvas.polygon(corners, vehicle.label, shader)


def _paint_flank(
    canvas: Canvas,
    thing: Thing,
    vehicle: Vehicle,
    outline: list[tuple[float, float]],
    colour: Colour,
    near: float,
) -> None:
    """Paint the side that looks at the camera, its windows and its wheels."""
    x_m = thing.x_m + near * vehicle.width_m / 2
    facing = (float(near), 0.0, 0.0)
    corners = [(x_m, up, thing.z_m + z) for z, up in outline]
    canvas.polygon(corners, vehicle.label, shaded(colour, facing))
    start, end, low, high = vehicle.windows
    if thing.heading < 0:
        start, end = vehicle.length_m - end, vehicle.length_m - start
    middle = (start + end) / 2
    for left, right in ((start, middle - 0.06), (middle + 0.06, end)):
        slope = 0.25 if vehicle.label == "car" else 0.0
        before, after = (slope, 0.0) if left == start else (0.0, slope)
        pane = [(left, low), (left + before, high), (right - after, high), (right, low)]
        glass = [(x_m, up, thing.z_m + z) for z, up in pane]
        canvas.polygon(glass, vehicle.label, shaded(GLASS, facing))
    radius = vehicle.outline[0][1] + 0.04
    for centre in (0.2 * vehicle.length_m, 0.8 * vehicle.length_m):
        for size, paint in ((radius, rgb(24, 24, 26)), (radius * 0.55, METAL)):
            wheel = [(x_m, radius + size * y, thing.z_m + centre + size * z) for z, y in _circle()]
            canvas.polygon(wheel, vehicle.label, flat(paint))


def _paint_end(canvas: Canvas, thing: Thing, vehicle: Vehicle) -> None:
    """Paint lamps and a number plate on the end that looks at the camera."""
    lamp = rgb(206, 30, 28) if thing.heading > 0 else rgb(250, 246, 225)
    half, z_m = vehicle.width_m / 2, thing.z_m - 0.01
    low = vehicle.outline[0][1] + 0.28
    if (z_m - canvas.camera.position_m[2]) < 0.5:
        return
    for left, right in ((-half + 0.08, -half + 0.42), (half - 0.42, half - 0.08)):
        canvas.polygon(
            _upright(thing.x_m, z_m, left, right, low, low + 0.2), vehicle.label, flat(lamp)
        )
    plate = _upright(thing.x_m, z_m, -0.26, 0.26, low - 0.14, low - 0.02)
    canvas.polygon(plate, vehicle.label, flat(rgb(232, 232, 226)))


def _paint_person(canvas: Canvas, thing: Thing) -> None:
    _paint_body(canvas, thing, "person", lift_m=0.0)


def _paint_cyclist(canvas: Canvas, thing: Thing) -> None:
    frame = _upright(thing.x_m, thing.z_m, -0.05, 0.05, 0.0, 0.7)
    handlebar = _upright(thing.x_m, thing.z_m, -0.28, 0.28, 0.98, 1.04)
    _paint_body(canvas, thing, "rider", lift_m=0.22)
    for part in (frame, handlebar):
        canvas.polygon(part, "bicycle", flat(DARK))


def _paint_body(canvas: Canvas, thing: Thing, label: str, *, lift_m: float) -> None:
    scale = 0.92 + 0.16 * thing.variant
    trousers = rgb(52, 58, 84) if thing.variant < 0.5 else rgb(58, 52, 46)
    shirt = rgb(176, 58, 52) if thing.heading < 0 else rgb(64, 96, 128)
    swing = 0.16 * np.sin(2 * np.pi * thing.phase)
    towards_sun = (float(-np.sign(SUN[2])) * 0.0, 0.0, -1.0)

    def part(shape: list[tuple[float, float]], colour: Colour) -> None:
        corners = [(thing.x_m + scale * x, scale * y + lift_m, thing.z_m) for x, y in shape]
        canvas.polygon(corners, label, shaded(colour, towards_sun, rough=0.2))

    for side, step in ((-1, swing), (1, -swing)):
        foot = side * 0.10 + step * 0.5
        lift = max(step, 0.0) * 0.4
        leg = [
            (side * 0.01, 0.9),
            (side * 0.19, 0.9),
            (foot + side * 0.07, lift),
            (foot - side * 0.05, lift),
        ]
        part(leg, trousers)
        arm = side * 0.25 - step * 0.4
        part(
            [(side * 0.16, 1.46), (side * 0.26, 1.42), (arm + 0.05, 0.82), (arm - 0.05, 0.82)],
            shirt,
        )
    part(
        [(-0.20, 1.46), (-0.17, 0.85), (0.17, 0.85), (0.20, 1.46), (0.08, 1.54), (-0.08, 1.54)],
        shirt,
    )
    part([(0.11 * x, 1.66 + 0.14 * y) for x, y in _circle()], SKIN)
    part([(0.12 * x, 1.71 + 0.10 * y) for x, y in _circle() if y > -0.1], rgb(62, 46, 36))


def _paint_tree(canvas: Canvas, thing: Thing) -> None:
    height = 4.2 + 3.2 * thing.variant
    bark = shaded(rgb(92, 72, 54), (0.0, 0.0, -1.0), rough=0.3)
    trunk = _upright(thing.x_m, thing.z_m, -0.13, 0.13, 0.0, height * 0.6)
    canvas.polygon(trunk, "vegetation", bark)
    random = np.random.default_rng(int(thing.variant * 2**31))
    for level in np.linspace(0, 1, 9):
        angle = random.uniform(0, 2 * np.pi)
        reach = 0.23 * height * np.sqrt(random.uniform(0.1, 1))
        x_m = thing.x_m + reach * np.cos(angle)
        y_m = height * (0.62 + 0.24 * level) + 0.3 * reach * np.sin(angle)
        radius = height * (0.2 - 0.07 * level)
        ragged = radius * random.uniform(0.8, 1.15, 24)
        z_m = thing.z_m - 0.02 * level
        lobe = [
            (x_m + r * x, y_m + r * y, z_m) for r, (x, y) in zip(ragged, _circle(), strict=True)
        ]
        canvas.polygon(lobe, "vegetation", _leaves(x_m, y_m, radius))


def _leaves(x_m: float, y_m: float, radius: float) -> Shader:
    """Light leaves on the sunny side of a ball of them, dark ones on the other."""

    def shader(points: NDArray[np.float64], distance_m: NDArray[np.float64]) -> NDArray[np.float64]:
        across, up = (points[:, 0] - x_m) / radius, (points[:, 1] - y_m) / radius
        sunny = 0.5 * (across * SUN[0] + up * SUN[1])
        light = 0.9 + 0.5 * sunny + 0.3 * noise(points[:, 0], points[:, 1], 9.0)
        colours: NDArray[np.float64] = (
            np.array(rgb(92, 124, 48)) * np.clip(light, 0.3, 1.6)[:, None]
        )
        return colours

    return shader


def _paint_lamp(canvas: Canvas, thing: Thing) -> None:
    metal = shaded(METAL, (0.0, 0.0, -1.0))
    canvas.polygon(_upright(thing.x_m, thing.z_m, -0.08, 0.08, 0.0, 6.6), "pole", metal)
    left, right = sorted((0.0, thing.heading * 1.7))
    canvas.polygon(_upright(thing.x_m, thing.z_m, left, right, 6.45, 6.6), "pole", metal)
    left, right = sorted((thing.heading * 1.2, thing.heading * 1.9))
    head = _upright(thing.x_m, thing.z_m, left, right, 6.34, 6.5)
    canvas.polygon(head, "pole", flat(rgb(214, 214, 206)))


def _paint_traffic_light(canvas: Canvas, thing: Thing) -> None:
    metal = shaded(METAL, (0.0, 0.0, -1.0))
    canvas.polygon(_upright(thing.x_m, thing.z_m, -0.07, 0.07, 0.0, 2.4), "pole", metal)
    case = _upright(thing.x_m, thing.z_m, -0.22, 0.22, 2.3, 3.35)
    canvas.polygon(case, "traffic light", flat(rgb(28, 30, 30)))
    lamps = ((3.13, rgb(228, 48, 40)), (2.82, rgb(84, 62, 20)), (2.51, rgb(24, 66, 40)))
    for up, colour in lamps:
        lamp = [(thing.x_m + 0.13 * x, up + 0.13 * y, thing.z_m) for x, y in _circle()]
        canvas.polygon(lamp, "traffic light", flat(colour))


def _paint_sign(canvas: Canvas, thing: Thing) -> None:
    metal = shaded(METAL, (0.0, 0.0, -1.0))
    canvas.polygon(_upright(thing.x_m, thing.z_m, -0.05, 0.05, 0.0, 2.3), "pole", metal)
    shapes = {"disc": _circle(), "square": [(-0.8, -0.8), (-0.8, 0.8), (0.8, 0.8), (0.8, -0.8)]}
    shape, rim, face = (
        (shapes["disc"], rgb(196, 32, 36), rgb(236, 236, 232))
        if thing.variant < 0.5
        else (shapes["square"], rgb(236, 236, 232), rgb(34, 84, 166))
    )
    for size, colour in ((0.42, rim), (0.3, face)):
        plate = [(thing.x_m + size * x, 2.5 + size * y, thing.z_m) for x, y in shape]
        canvas.polygon(plate, "traffic sign", flat(colour))


_PAINTERS: dict[Kind, Callable[[Canvas, Thing], None]] = {
    "bus": _paint_vehicle,
    "car": _paint_vehicle,
    "cyclist": _paint_cyclist,
    "lamp": _paint_lamp,
    "person": _paint_person,
    "sign": _paint_sign,
    "traffic light": _paint_traffic_light,
    "tree": _paint_tree,
    "truck": _paint_vehicle,
}

_BULKS: dict[Kind, tuple[float, float, float, float]] = {
    "bus": (2.5, 11.0, 0.0, 3.0),
    "car": (1.8, 4.3, 0.0, 1.3),
    "cyclist": (0.4, 0.3, 0.0, 1.8),
    "lamp": (0.14, 0.1, 0.0, 6.5),
    "person": (0.4, 0.3, 0.0, 1.7),
    "sign": (0.1, 0.1, 0.0, 2.6),
    "traffic light": (0.2, 0.2, 0.0, 3.2),
    "tree": (2.6, 2.6, 2.4, 5.0),
    "truck": (2.4, 7.0, 0.0, 3.2),
}
"""Width, length, lowest and highest point in metres of what casts a thing's shadow."""


def _upright(
    x_m: float, z_m: float, left: float, right: float, low: float, high: float
) -> list[tuple[float, float, float]]:
    """Return a rectangle that faces the camera; left and right count from ``x_m``."""
    return [
        (x_m + left, low, z_m),
        (x_m + left, high, z_m),
        (x_m + right, high, z_m),
        (x_m + right, low, z_m),
    ]


def _circle() -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [(float(np.cos(angle)), float(np.sin(angle))) for angle in angles]


def _tinted(colour: Colour, variant: float) -> Colour:
    blue, green, red = (min(level * (0.88 + 0.24 * variant), 1.0) for level in colour)
    return blue, green, red
