"""Cars, trucks and buses: an outline from the side, extruded to the vehicle's width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .canvas import Canvas, Colour, Shader, flat, rgb, shaded
from .geometry import circle, upright
from .street import Thing

__all__ = ["paint_vehicle"]

RUBBER, METAL, GLASS = rgb(22, 22, 24), rgb(120, 124, 126), rgb(58, 70, 84)
REAR_LAMP, HEADLAMP, PLATE = rgb(206, 30, 28), rgb(250, 246, 225), rgb(232, 232, 226)
Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vehicle:
    """The shape and colours of a kind of vehicle, which is also its class.

    Attributes:
        width_m, length_m: its size.
        outline: (along, up) m from the rear end over the roof to the front.
        glass: indices of the stretches of the outline that are windows.
        panes: the windows of its side, as outlines.
        colours: of the body when seen from behind, and when oncoming.
    """

    width_m: float
    length_m: float
    outline: Outline
    glass: tuple[int, ...]
    panes: tuple[Outline, ...]
    colours: tuple[Colour, Colour]


VEHICLES = {
    "car": Vehicle(
        width_m=1.8,
        length_m=4.3,
        outline=(
            *((0, 0.3), (0, 0.85), (0.15, 0.98), (0.7, 1.45)),
            *((2.3, 1.47), (3.1, 0.98), (4.2, 0.8), (4.3, 0.3)),
        ),
        glass=(2, 4),
        panes=(
            ((0.70, 0.98), (0.95, 1.36), (1.65, 1.36), (1.65, 0.98)),
            ((1.77, 0.98), (1.77, 1.36), (2.40, 1.36), (2.75, 0.98)),
        ),
        colours=(rgb(150, 42, 40), rgb(196, 200, 206)),
    ),
    "truck": Vehicle(
        width_m=2.4,
        length_m=7.0,
        outline=((0, 0.5), (0, 3.3), (5.2, 3.3), (5.3, 2.6), (6.6, 2.5), (7.0, 1.5), (7.0, 0.5)),
        glass=(4,),
        panes=(((5.6, 1.5), (5.6, 2.3), (6.5, 2.3), (6.7, 1.5)),),
        colours=(rgb(206, 204, 196), rgb(84, 118, 150)),
    ),
    "bus": Vehicle(
        width_m=2.5,
        length_m=11.0,
        outline=((0, 0.4), (0, 1.3), (0.1, 2.6), (0.1, 3.1), (10.9, 3.1), (11, 1.2), (11, 0.4)),
        glass=(1, 4),
        panes=tuple(
            ((z, 1.35), (z, 2.45), (z + 1.8, 2.45), (z + 1.8, 1.35)) for z in range(1, 9, 2)
        ),
        colours=(rgb(206, 150, 44), rgb(206, 150, 44)),
    ),
}


def paint_vehicle(canvas: Canvas, thing: Thing) -> None:
    """Paint one vehicle, its far parts first."""
    vehicle = VEHICLES[thing.kind]
    colour = vehicle.colours[0 if thing.heading > 0 else 1]
    colour = _tinted(canvas.varied(colour, thing.variant), thing.variant)
    _paint_underside(canvas, thing, vehicle)
    _paint_hull(canvas, thing, vehicle, colour)
    _paint_flank(canvas, thing, vehicle, colour)
    _paint_end(canvas, thing, vehicle)


def _along(thing: Thing, vehicle: Vehicle, z_m: float) -> float:
    """Return the position along the street of a point ``z_m`` in front of the rear end."""
    return thing.z_m + (z_m if thing.heading > 0 else vehicle.length_m - z_m)


def _paint_underside(canvas: Canvas, thing: Thing, vehicle: Vehicle) -> None:
    half, bottom = vehicle.width_m / 2 - 0.08, vehicle.outline[0][1] + 0.05
    for z_m in (thing.z_m + vehicle.length_m - 0.6, thing.z_m + 0.6):
        for left in (-half, half - 0.3):
            tyre = upright(thing.x_m, z_m, left, left + 0.3, 0.0, bottom)
            canvas.polygon(tyre, thing.kind, flat(RUBBER))
    belly = upright(thing.x_m, thing.z_m + 0.4, -half, half, bottom * 0.6, bottom + 0.1)
    canvas.polygon(belly, thing.kind, flat(RUBBER))


def _paint_hull(canvas: Canvas, thing: Thing, vehicle: Vehicle, colour: Colour) -> None:
    """Paint rear, roof, bonnet: each stretch of the outline, over the whole width."""
    left, right = thing.x_m - vehicle.width_m / 2, thing.x_m + vehicle.width_m / 2
    stretches = list(enumerate(pairwise(vehicle.outline)))
    for index, ((z0, y0), (z1, y1)) in stretches[:: -thing.heading]:  # far to near
        normal = np.array([0.0, z1 - z0, (y0 - y1) * thing.heading])
        normal /= np.linalg.norm(normal)
        start, end = _along(thing, vehicle, z0), _along(thing, vehicle, z1)
        if (canvas.camera.position_m - np.array([left, y0, start])) @ normal <= 0:
            continue  # it faces away from the camera
        corners = [(left, y0, start), (right, y0, start), (right, y1, end), (left, y1, end)]
        facing = (0.0, normal[1], normal[2])
        window = index in vehicle.glass
        canvas.polygon(corners, thing.kind, _glass(facing) if window else _body(colour, facing))


def _paint_flank(canvas: Canvas, thing: Thing, vehicle: Vehicle, colour: Colour) -> None:
    """Paint the side that faces the camera, its windows and its wheels."""
    side = 1.0 if canvas.camera.position_m[0] > thing.x_m else -1.0
    x_m, facing = thing.x_m + side * vehicle.width_m / 2, (side, 0.0, 0.0)

    def paint(outline: Iterable[tuple[float, float]], shader: Shader) -> None:
        corners = [(x_m, up, _along(thing, vehicle, z)) for z, up in outline]
        canvas.polygon(corners, thing.kind, shader)

    paint(vehicle.outline, _body(colour, facing))
    for pane in vehicle.panes:
        paint(pane, _glass(facing))
    radius = vehicle.outline[0][1] + 0.04
    for axle in (0.2 * vehicle.length_m, 0.8 * vehicle.length_m):
        paint(circle() * radius + (axle, radius), flat(RUBBER))
        paint(circle() * radius * 0.55 + (axle, radius), flat(METAL, "metal"))


def _paint_end(canvas: Canvas, thing: Thing, vehicle: Vehicle) -> None:
    """Paint lamps and a number plate on the end that faces the camera."""
    z_m = thing.z_m - 0.01
    if z_m < canvas.camera.position_m[2]:
        return
    lamp = flat(REAR_LAMP if thing.heading > 0 else HEADLAMP, "lamp")
    half, low = vehicle.width_m / 2, vehicle.outline[0][1] + 0.28
    for left in (-half + 0.08, half - 0.42):
        corners = upright(thing.x_m, z_m, left, left + 0.34, low, low + 0.2)
        canvas.polygon(corners, thing.kind, lamp)
    plate = upright(thing.x_m, z_m, -0.26, 0.26, low - 0.14, low - 0.02)
    canvas.polygon(plate, thing.kind, flat(PLATE))


def _body(colour: Colour, facing: tuple[float, float, float]) -> Shader:
    return shaded(colour, facing, material="enamel")


def _glass(facing: tuple[float, float, float]) -> Shader:
    return shaded(GLASS, facing, material="glass")


def _tinted(colour: Colour, variant: float) -> Colour:
    blue, green, red = (min(level * (0.88 + 0.24 * variant), 1.0) for level in colour)
    return blue, green, red
