"""The large surfaces of a street: sky, ground, backdrop, parks and houses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import CITYSCAPES

from .canvas import HAZE, SUN, Canvas, Colour, Shader, hazed, noise, rgb, shaded
from .geometry import Array, upright, wall_along
from .street import BLOCK_M, CROSSING_M, Building, Street

__all__ = [
    "BAY_M", "STOREY_M", "house_shadow", "markings", "paint_backdrop", "paint_ground",
    "paint_house", "paint_park", "paint_sky",
]  # fmt: skip

STOREY_M, BAY_M = 3.1, 2.6
ASPHALT, MARKING = rgb(92, 92, 96), rgb(225, 225, 220)
PAVING, KERB = rgb(158, 150, 142), rgb(190, 186, 180)
GRASS, LEAVES = rgb(104, 132, 58), rgb(78, 104, 46)
ZENITH, CLOUD = rgb(88, 140, 205), rgb(246, 246, 248)
GLASS, FRAME = rgb(52, 64, 78), rgb(226, 222, 214)
PLASTER, BRICK = rgb(214, 186, 142), rgb(166, 92, 70)
STONE, CONCRETE = rgb(196, 190, 178), rgb(142, 152, 164)
STYLES = {2: PLASTER, 3: PLASTER, 4: BRICK, 5: BRICK, 6: STONE, 7: CONCRETE}
MATERIALS = {PLASTER: "plaster", BRICK: "brick", STONE: "stone", CONCRETE: "concrete"}
"""Colour by number of storeys, so that a generator can infer it from the front's outline."""


def paint_sky(canvas: Canvas, time_s: float) -> None:
    """Fill the whole canvas with sky and moving clouds."""
    rays = canvas.camera.rays.reshape(-1, 3)
    height = np.clip(rays[:, 1] / np.linalg.norm(rays, axis=1), 0.02, 1)
    across, along = rays[:, 0] / height + 0.03 * time_s, rays[:, 2] / height
    cloudy = noise(across, along, 5.0, smooth=True) + 0.25 * noise(across, along, 19.0, smooth=True)
    cover = np.clip(1.1 * cloudy - 0.1, 0, 0.95) * np.clip(height * 4, 0, 1)
    blue = np.clip(height * 1.7, 0, 1)[:, None] ** 0.6
    clear = np.array(ZENITH) * blue + np.array(HAZE) * (1 - blue)
    canvas.ids[...] = CITYSCAPES.classes.index("sky")
    mixed = clear + (np.array(CLOUD) - clear) * cover[:, None]
    canvas.photo[...] = mixed.reshape(canvas.photo.shape)


def paint_ground(canvas: Canvas, street: Street) -> None:
    """Paint everything below the horizon: road, verge, pavement and the land behind."""
    rows, columns = np.nonzero(canvas.camera.rays[..., 1] < -1e-3)
    rays = canvas.camera.rays[rows, columns]
    distance_m = -canvas.camera.position_m[1] / rays[:, 1]
    points = canvas.camera.position_m + rays * distance_m[:, None]  # (n, 3)
    away, along = np.abs(points[:, 0]), points[:, 2]
    opens = street.opens(np.floor(along / BLOCK_M).astype(np.int64))
    road = (away < street.road_m) | (opens & (along % BLOCK_M < CROSSING_M))
    paved = ~road & (away >= street.kerb_m) & (away < street.front_m)
    names = np.select([road, paved], [0, 1], 2)  # into the two tables
    ids = [CITYSCAPES.classes.index(name) for name in ("road", "sidewalk", "terrain")]
    canvas.ids[rows, columns] = np.array(ids, np.uint8)[names]

    near = np.minimum(1, 9 / distance_m)
    grain = 1 + 0.16 * near * noise(points[:, 0], along, 14.0)
    patches = 1 + 0.10 * noise(points[:, 0], along, 1.3)
    colours = np.array([ASPHALT, PAVING, GRASS])[names] * (grain * patches)[:, None]
    wheels = np.abs(np.abs(away - street.road_m / 2) - 0.75) < 0.3
    colours[road & wheels] *= 0.94  # where tyres polish the road
    slabs = ((points[:, 0] % 0.8 < 0.06) | (along % 0.8 < 0.06)) & paved
    colours[slabs] *= 1 - 0.25 * near[slabs][:, None]
    colours[paved & (away < street.kerb_m + 0.18)] = KERB
    colours[road & markings(street, away, along)] = MARKING
    canvas.photo[rows, columns] = hazed(colours, distance_m)


def markings(street: Street, away: Array, along: Array) -> NDArray[np.bool_]:
    """Return where the road has lines or a zebra crossing; all (n,), m from its middle, m along."""
    block, inside = np.divmod(along, BLOCK_M)
    index = block.astype(np.int64)
    side_street = street.opens(index) & (inside < CROSSING_M)
    before = street.opens(index + 1) & (inside > BLOCK_M - 3.6)
    lines = (away < 0.09) | (np.abs(away - street.road_m + 0.3) < 0.07)
    zebra = before & (inside < BLOCK_M - 0.6) & (away % 1.0 < 0.5) & (away < street.road_m - 0.3)
    return (lines & ~side_street & ~before) | zebra


def paint_backdrop(canvas: Canvas, street: Street) -> None:
    """Paint trees behind parks and side streets, and houses where the street ends."""
    end = canvas.camera.position_m[2] + 145
    for side in (-1, 1):
        x_m = side * (street.front_m + 26)
        canvas.polygon(wall_along(x_m, end - 170, end, 6.0), "vegetation", FOLIAGE)
    canvas.polygon(upright(0.0, end, -60, 60, 0.0, 7.0), "vegetation", FOLIAGE)
    house = _front(9.0, STONE, "stone", light=0.95)
    canvas.polygon(upright(0.0, end - 4, -34, -street.front_m + 3, 0.0, 13.0), "building", house)
    canvas.polygon(upright(0.0, end - 2, street.front_m - 3, 30, 0.0, 16.0), "building", house)


def paint_park(canvas: Canvas, street: Street, block: int, side: int) -> None:
    """Paint a fence or a wall between the pavement and a park, and a hedge behind it."""
    start, end = street.start_of(block), (block + 1) * BLOCK_M
    x_m = side * street.front_m
    canvas.polygon(wall_along(x_m + side * 11, start, end, 3.2), "vegetation", FOLIAGE)
    facing = (-float(side), 0.0, 0.0)
    if block % 2:
        wall = shaded(rgb(172, 140, 120), facing, rough=0.25, material="brick")
        canvas.polygon(wall_along(x_m, start, end, 1.1), "wall", wall)
    else:
        canvas.polygon(wall_along(x_m, start, end, 1.2), "fence", _palings(facing))


def paint_house(canvas: Canvas, street: Street, house: Building) -> None:
    """Paint the front along the street, the gable towards the camera, and a roof on low houses."""
    inner = house.side * street.front_m
    outer = inner + house.side * 12
    height = house.storeys * STOREY_M + 0.9
    style = STYLES[house.storeys]
    colour, material = canvas.varied(style, house.start_m), MATERIALS[style]
    gable = _front(height, colour, material, light=0.78 if house.side < 0 else 0.86)
    ridge, top = inner + house.side * 4, height + (2.4 if house.storeys <= 3 else 0.0)
    profile = [(inner, 0.0), (inner, height), (ridge, top), (outer, top), (outer, 0.0)]
    canvas.polygon([(x, y, house.start_m) for x, y in profile], "building", gable)
    # The sun stands on the left, so left fronts are dim.
    front = _front(height, colour, material, light=0.72 if house.side < 0 else 1.08)
    canvas.polygon(wall_along(inner, house.start_m, house.end_m, height), "building", front)
    if top > height:
        slope = [(inner, height), (ridge, top)]
        near, far = ([(x, y, z) for x, y in slope] for z in (house.start_m, house.end_m))
        tiles = shaded(rgb(150, 74, 58), (0.0, 1.0, 0.0), rough=0.3, material="tiles")
        canvas.polygon([*near, *reversed(far)], "building", tiles)


def house_shadow(street: Street, house: Building) -> list[tuple[float, float, float]]:
    """Return the shadow of a left-hand house, a polygon on the ground in metres.

    It reaches a little way into the road whatever the house's height, so that a generator can infer
    its place from the label map.
    """
    reach = street.pavement_m + street.verge_m + 1.2
    slant = reach * SUN[2] / SUN[0]
    inner, outer, start, end = -street.front_m, reach - street.front_m, house.start_m, house.end_m
    return [(inner, 0, start), (outer, 0, start + slant), (outer, 0, end + slant), (inner, 0, end)]


def _front(height: float, colour: Colour, material: str, *, light: float) -> Shader:
    """Return a shader of house fronts: rows of windows, a shop window below, a cornice above."""

    def paint(points: Array, distance_m: Array) -> Array:
        across, up = points[:, 0] + points[:, 2], points[:, 1]
        bay, storey = across % BAY_M / BAY_M, up % STOREY_M / STOREY_M
        grain = 1 + 0.10 * noise(across, up, 5.0) * np.minimum(1, 15 / distance_m)
        colours = np.array(colour) * (light * grain)[:, None]
        upstairs = (up > STOREY_M) & (up < height - 0.8)
        frame = upstairs & (abs(bay - 0.5) < 0.29) & (abs(storey - 0.56) < 0.33)
        pane = upstairs & (abs(bay - 0.5) < 0.23) & (abs(storey - 0.56) < 0.27)
        shop = (up < STOREY_M * 0.82) & (up > 0.5) & (abs(bay - 0.5) < 0.42)
        colours[frame] = np.array(FRAME) * light
        mirrored = 1 + 1.5 * np.clip(storey - 0.35, 0, 1) + 0.2 * noise(across, up, 2.0)
        glass = pane | shop
        colours[glass] = (np.array(GLASS) * (0.55 + 0.45 * light) * mirrored[:, None])[glass]
        colours[pane & (abs(bay - 0.5) < 0.02)] = np.array(FRAME) * light
        colours[(up > height - 0.55)] *= 1.18
        colours[(up > STOREY_M * 0.9) & (up < STOREY_M)] *= 0.72
        return colours * np.clip(0.75 + up / 4, 0, 1)[:, None]  # less sky reaches the ground

    return Shader(paint=paint, colour=colour, material=material, size_m=height)


def _foliage(points: Array, distance_m: Array) -> Array:
    across, up = points[:, 0] + points[:, 2], points[:, 1]
    light = 0.78 + 0.04 * up + 0.5 * noise(across, up, 2.0)
    return np.array(LEAVES) * np.clip(light, 0.3, 1.5)[:, None]


FOLIAGE = Shader(paint=_foliage, colour=LEAVES, material="leaves")


def _palings(facing: tuple[float, float, float]) -> Shader:
    wood, gap = shaded(rgb(150, 128, 104), facing, rough=0.2), rgb(70, 78, 48)

    def paint(points: Array, distance_m: Array) -> Array:
        colours = np.array(wood.paint(points, distance_m))
        along, up = points[:, 2] % 0.5, points[:, 1]
        colours[(along > 0.34) & (abs(up - 0.35) > 0.08) & (abs(up - 0.95) > 0.08)] = gap
        return colours

    return Shader(paint=paint, colour=wood.colour, material="palings")
