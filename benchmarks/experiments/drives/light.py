"""Light and materials: a plain picture and a rich one of the same surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.scenes.canvas import SUN, noise_table, rgb
from p2p_train.scenes.street import BLOCK_M, CROSSING_M, Street
from p2p_train.scenes.surfaces import (
    ASPHALT,
    BAY_M,
    FRAME,
    GLASS,
    GRASS,
    KERB,
    MARKING,
    PAVING,
    STOREY_M,
    markings,
)

from .surfaces import GROUND, MATERIALS, SKY, Floats, View, lookup

__all__ = ["plain_picture", "rich_picture", "scene_of"]

Pixels = NDArray[np.intp]
Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]

GRAIN = {
    "ground": (24.0, 0.42, 1.1, 0.16), "plain": (10.0, 0.10, 1.0, 0.06),
    "plaster": (9.0, 0.13, 0.7, 0.20), "brick": (12.0, 0.20, 0.8, 0.18),
    "stone": (10.0, 0.18, 0.7, 0.16), "concrete": (9.0, 0.14, 0.5, 0.20),
    "tiles": (8.0, 0.25, 1.0, 0.20), "leaves": (11.0, 1.15, 2.1, 0.50),
    "palings": (14.0, 0.30, 2.0, 0.20), "bark": (16.0, 0.60, 3.0, 0.25),
    "cloth": (16.0, 0.25, 4.0, 0.25), "metal": (8.0, 0.10, 1.0, 0.12),
    "enamel": (3.0, 0.03, 1.0, 0.05), "glass": (3.0, 0.10, 1.0, 0.10),
    "lamp": (1.0, 0.0, 1.0, 0.0), "sky": (1.0, 0.0, 1.0, 0.0),
}  # fmt: skip
"""Fine and coarse grain of each material: cells per metre and amount, twice."""

COURSES = {"brick": (0.14, 0.42), "stone": (0.52, 1.1), "concrete": (3.1, 2.6), "tiles": (0.3, 0.4)}
"""Height and length in metres of bricks, blocks, panels and tiles."""

GLOSS = {"enamel": 0.10, "glass": 0.16, "metal": 0.10}
PANE_GLOSS = 0.22

# Linear light, BGR
SUNLIGHT, SKYLIGHT, BOUNCE = (1.85, 2.35, 2.75), (0.54, 0.42, 0.34), (0.09, 0.13, 0.16)
HORIZON, ZENITH, CLOUD = (0.90, 0.78, 0.66), (0.62, 0.28, 0.10), (1.10, 1.06, 1.05)
HAZE_M = 330.0
OPPOSITE = (0.10, 0.11, 0.14)
"""Colour of the houses that windows mirror."""

PLAIN_SKY = rgb(150, 184, 216)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A view with its labels and painted colours: what the two pictures have in common.

    Attributes:
        view: the visible surfaces.
        labels: Cityscapes classes, (H, W) uint8.
        colour: (3, H, W) BGR 0-1, with windows, frames, kerbs and markings.
        ground, fronts: places of these pixels in the flat picture, (n,).
        road, paved, marked, kerb: of the ground's pixels.
        pane, shop, frame, sign: of the fronts' pixels; shops are panes, too.
        bay, storey: position within a window's field, 0-1, and its number, (2, n) each.
    """

    view: View
    labels: Picture
    colour: Floats
    ground: Pixels
    road: Mask
    paved: Mask
    marked: Mask
    kerb: Mask
    fronts: Pixels
    pane: Mask
    shop: Mask
    frame: Mask
    sign: Mask
    bay: Floats
    storey: Floats


def scene_of(view: View, street: Street) -> Scene:
    """Find out what lies on the ground and hangs on the fronts of a view."""
    labels, colour = view.labels.copy(), view.colour.copy()
    flat = colour.reshape(3, -1)

    ground = np.flatnonzero(view.surface == GROUND)
    across, along = view.across.ravel()[ground], view.up.ravel()[ground]
    away = np.abs(across)
    opens = street.opens(np.floor(along / BLOCK_M).astype(np.int64))
    road = (away < street.road_m) | (opens & (along % BLOCK_M < CROSSING_M))
    paved = ~road & (away >= street.kerb_m) & (away < street.front_m)
    kerb = paved & (away < street.kerb_m + 0.18)
    marked = road & markings(street, away.astype(np.float64), along.astype(np.float64))
    part = np.select([road, paved], [0, 1], 2)
    names = [CITYSCAPES.classes.index(name) for name in ("road", "sidewalk", "terrain")]
    labels.ravel()[ground] = np.array(names, np.uint8)[part]
    colours = np.array([ASPHALT, PAVING, GRASS, KERB, MARKING], np.float32)
    part[kerb], part[marked] = 3, 4
    flat[:, ground] = colours[part].T

    fronts = np.flatnonzero((view.size_m > 0) & (view.material != MATERIALS.index("leaves")))
    height, up = view.size_m.ravel()[fronts], view.up.ravel()[fronts]
    bay, storey = (np.stack([v % 1, np.floor(v)]) for v in (
        view.across.ravel()[fronts] / np.float32(BAY_M), up / np.float32(STOREY_M)
    ))  # fmt: skip
    middle, level = np.abs(bay[0] - 0.5), np.abs(storey[0] - 0.56)
    upstairs = (up > STOREY_M) & (up < height - 0.8)
    frame = upstairs & (middle < 0.29) & (level < 0.33)
    shop = (up < STOREY_M * 0.78) & (up > 0.5) & (middle < 0.42)
    pane = (upstairs & (middle < 0.23) & (level < 0.27) & (middle > 0.015)) | shop
    sign = (up > STOREY_M * 0.8) & (up < STOREY_M) & (bay[1] % 3 != 0)
    trims = ((frame & ~pane, FRAME), (pane, GLASS), (up > height - 0.55, FRAME))
    for mask, paint in trims:
        flat[:, fronts[mask]] = np.array(paint, np.float32)[:, None]
    return Scene(
        view=view, labels=labels, colour=colour, ground=ground, road=road, paved=paved,
        marked=marked, kerb=kerb, fronts=fronts, pane=pane, shop=shop, frame=frame & ~pane,
        sign=sign, bay=bay, storey=storey,
    )  # fmt: skip


def plain_picture(scene: Scene, size: tuple[int, int]) -> Picture:
    """Return the picture of a cheap simulator, ``size`` (width, height): flat colours, one light.

    It is (H, W, 3) uint8 BGR.
    """
    view = scene.view
    facing = np.clip(_dot(view.normal, SUN), 0, 1)
    lit = scene.colour * (0.62 + 0.40 * facing)
    lit[:, view.surface == SKY] = np.array(PLAIN_SKY, np.float32)[:, None]
    small = cv2.resize(cv2.merge(list(lit)), size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(small * 255, 0, 255).round(), np.uint8)


def rich_picture(
    scene: Scene, street: Street, size: tuple[int, int], time_s: float, rng: np.random.Generator
) -> Picture:
    """Return the picture with textures, shadows, mirrors, clouds and a camera's faults.

    It is ``size`` (width, height), (H, W, 3) uint8 BGR; ``rng`` draws the sensor's noise.
    """
    view = scene.view
    albedo = scene.colour * scene.colour  # linear
    coarse, fine = _grains(view)
    gloss = lookup([GLOSS.get(name, 0.0) for name in MATERIALS], view.material)
    _weather(scene, street, albedo, coarse, fine)
    leaves = view.material == MATERIALS.index("leaves")
    albedo[:, leaves] *= np.array([[1.2], [0.85], [1.0]], np.float32)
    _courses(view, albedo, fine)
    _windows(scene, albedo, gloss)
    albedo *= np.clip(1 + fine + coarse, 0.12, 2.4)

    normal = _rounded(view, coarse)
    sun = np.clip(_dot(normal, SUN), 0, 1) * _sunshine(scene, street, coarse)
    open_sky = _openness(scene, street)
    sky = open_sky * (0.55 + 0.45 * normal[1])
    bounce = open_sky * (0.6 - 0.4 * normal[1])
    light = np.empty_like(albedo)
    for channel in range(3):
        strength = sun * SUNLIGHT[channel] + sky * SKYLIGHT[channel] + bounce * BOUNCE[channel]
        light[channel] = albedo[channel] * strength
    lamps = view.material == MATERIALS.index("lamp")
    light[:, lamps] = 2.2 * albedo[:, lamps]
    _mirror(view, normal, gloss, light, open_sky)
    clear = np.exp(-view.distance_m / HAZE_M)
    for channel in range(3):
        light[channel] = HORIZON[channel] * 0.8 + (light[channel] - HORIZON[channel] * 0.8) * clear
    _clouds(view, light, time_s)
    return _develop(cv2.resize(cv2.merge(list(light)), size, interpolation=cv2.INTER_AREA), rng)


def _dot(vectors: Floats, other: NDArray[np.float64]) -> Floats:
    x, y, z = (float(v) for v in other)
    return np.asarray(vectors[0] * x + vectors[1] * y + vectors[2] * z)


@lru_cache(maxsize=1)
def _table() -> Floats:
    return noise_table().astype(np.float32)


def _cloudy(across: Floats, along: Floats) -> Floats:
    """Return smooth noise of about -1 to 1 at places in cells, (H, W) each."""
    side = np.float32(len(_table()))
    across, along = (v - np.floor(v / side) * side for v in (across, along))
    wrap = cv2.BORDER_WRAP
    return np.asarray(
        cv2.remap(_table(), across, along, cv2.INTER_LINEAR, borderMode=wrap), np.float32
    )


def _hashed(one: Floats, two: Floats) -> Floats:
    """Return a number of 0 to 1 for each pair of whole numbers."""
    return _fraction(
        np.sin(one * np.float32(12.9898) + two * np.float32(78.233)) * np.float32(437.5453)
    )


def _fraction(values: Floats) -> Floats:
    return np.asarray(values - np.floor(values))  # ten times faster than % 1


def _grains(view: View) -> tuple[Floats, Floats]:
    """Return coarse and fine grain of each pixel's material; the fine one fades with distance."""
    table = np.array([GRAIN[name] for name in MATERIALS])
    cells, amount, coarse_cells, coarse_amount = (lookup(c, view.material) for c in table.T)
    px_m = view.distance_m / np.float32(view.surface.shape[0])  # about the size of a pixel
    fade = np.clip(0.35 / (px_m * cells), 0.12, 1)
    fine = amount * fade * _cloudy(view.across * cells, view.up * cells)
    coarse = _cloudy(view.across * coarse_cells + 91, view.up * coarse_cells + 17)
    coarse *= coarse_amount
    return coarse, fine


def _weather(scene: Scene, street: Street, albedo: Floats, coarse: Floats, fine: Floats) -> None:
    """Wear the road, lay slabs and stain walls."""
    view, ground = scene.view, scene.ground
    flat = albedo.reshape(3, -1)
    across, along = view.across.ravel()[ground], view.up.ravel()[ground]
    grain, wide = fine.ravel()[ground], coarse.ravel()[ground]
    near = np.clip(9 / view.distance_m.ravel()[ground], 0, 1)
    factor = np.ones_like(across)
    away = np.abs(across)
    wheels = np.exp(-(((np.abs(away - street.road_m / 2) - 0.75) / 0.35) ** 2))
    middle = np.exp(-(((away - street.road_m / 2) / 0.3) ** 2))
    factor[scene.road] *= (1 - 0.16 * wheels - 0.10 * middle * (1 + 4 * wide))[scene.road]
    patch = _hashed(np.floor(across / 2.7), np.floor(along / 6.5))
    factor[scene.road & (patch > 0.86)] *= 0.80
    seams = (
        np.abs(_fraction((along + 2.5 * wide + 0.15 * across) / 9.7) - 0.5) < 0.002 + 0.003 * near
    )
    seams |= np.abs(away - street.road_m / 2 - 1.4 - 0.5 * wide) < 0.03
    factor[scene.road & seams] *= 0.66
    worn = np.clip(1.05 + 3.2 * grain + 2.0 * wide, 0.55, 1.1)
    factor[scene.marked] = worn[scene.marked]
    slab = _hashed(np.floor(across / 0.8), np.floor(along / 0.8))
    joint = (across % 0.8 < 0.05) | (along % 0.8 < 0.05)
    slabs = scene.paved & ~scene.kerb
    factor[slabs] *= (0.86 + 0.28 * slab - 0.45 * joint * near)[slabs]
    green = ~scene.road & ~scene.paved
    flat[2, ground[green]] *= (1 + 2.2 * wide + 0.8 * grain)[green]  # dry and lush grass
    flat[:, ground[green]] *= np.array([[1.3], [0.72], [0.86]], np.float32)  # less of a lawn
    factor[green] *= (1 + 1.6 * grain)[green]
    flat[:, ground] *= factor

    up, fronts = view.up.ravel()[scene.fronts], scene.fronts
    dirt = 1 - 0.28 * np.exp(-up / 0.9)
    sill = scene.storey[0] < 0.24
    streaks = fine.ravel()[fronts] * 1.2 * sill * (np.abs(scene.bay[0] - 0.5) < 0.25)
    flat[:, fronts] *= dirt - 0.10 * (scene.storey[0] < 0.05) + np.minimum(streaks, 0)


def _courses(view: View, albedo: Floats, fine: Floats) -> None:
    """Lay bricks, blocks, panels and tiles; the joints fade with distance."""
    for name, (high, long) in COURSES.items():
        pixels = np.flatnonzero(view.material == MATERIALS.index(name))
        row = view.up.ravel()[pixels] / np.float32(high)
        course = np.floor(row)
        column = view.across.ravel()[pixels] / np.float32(long) + 0.5 * (course % 2)
        px_m = view.distance_m.ravel()[pixels] / np.float32(view.surface.shape[0])
        near = np.clip(0.35 * high / px_m - 0.3, 0, 1)
        joint = (row % 1 < 0.03 / high**0.5) | (column % 1 < 0.022 / long**0.5)
        own = _hashed(np.floor(column), course) - 0.5
        albedo.reshape(3, -1)[:, pixels] *= 1 + near * (0.34 * own - 0.34 * joint)


def _windows(scene: Scene, albedo: Floats, gloss: Floats) -> None:
    """Put rooms, curtains and lamps behind panes, reveals around them, and signs over shops."""
    flat, fronts = albedo.reshape(3, -1), scene.fronts
    room = _hashed(scene.bay[1], scene.storey[1])
    depth = 0.35 + 0.65 * np.clip((scene.storey[0] - 0.2) * 1.8, 0, 1)  # floors are darker
    middle = np.abs(scene.bay[0] - 0.5)
    level = scene.storey[0]
    things = _hashed(np.floor(scene.bay[0] * 11), scene.bay[1])  # of unequal height, in a row
    goods = np.where(level < 0.18 + 0.32 * things, 0.10 + 0.35 * things, 0.05)
    goods += 0.5 * np.exp(-(((level - 0.72) / 0.06) ** 2))  # the lamps at the ceiling
    for channel, (dark, cloth, warm) in enumerate(
        ((0.030, 0.34, 0.10), (0.028, 0.40, 0.30), (0.026, 0.44, 0.52))
    ):
        inside = dark * depth
        curtain = (room > 0.45) & (middle > 0.23 - 0.24 * (room - 0.45)) & ~scene.shop
        inside = np.where(curtain, cloth * (0.75 + 0.25 * np.cos(scene.bay[0] * 120)), inside)
        blind = (room < 0.16) & (scene.storey[0] > 0.45 + 1.5 * room) & ~scene.shop
        inside = np.where(blind, 0.8 * cloth, inside)
        inside = np.where(scene.shop, 0.02 + warm * goods, inside)
        inside = np.where((room > 0.93) & ~scene.shop, warm * depth, inside)
        flat[channel, fronts[scene.pane]] = inside[scene.pane]
        sign = np.sin(scene.bay[1] // 3 * 2.3 + channel * 1.9) * 0.5 + 0.5
        flat[channel, fronts[scene.sign]] = 0.03 + 0.42 * (sign**2)[scene.sign]
    gloss.ravel()[fronts[scene.pane]] = PANE_GLOSS
    reveal = scene.frame & ((scene.storey[0] > 0.8) | (scene.bay[0] < 0.27))
    flat[:, fronts[reveal]] *= 0.45
    sill = (np.abs(scene.storey[0] - 0.20) < 0.025) & (middle < 0.32) & (scene.storey[1] > 0)
    under = (np.abs(scene.storey[0] - 0.14) < 0.035) & (middle < 0.32) & (scene.storey[1] > 0)
    flat[:, fronts[sill & ~scene.pane]] *= 1.25
    flat[:, fronts[under & ~scene.pane & ~scene.sign]] *= 0.72


def _rounded(view: View, coarse: Floats) -> Floats:
    """Return normals with the bulges of crowns, cars and bodies, (3, H, W)."""
    normal = view.normal.copy()
    leaves = view.material == MATERIALS.index("leaves")
    ball = leaves & (view.size_m > 0)
    x, y = view.round_x[ball], view.round_y[ball]
    normal[:, ball] = np.stack([x, y, -np.sqrt(np.clip(1.2 - x * x - y * y, 0.05, 1.2))])
    normal[1, leaves] += 1.3 * coarse[leaves]
    normal[0, leaves] -= 0.9 * coarse[leaves]
    cars = view.material == MATERIALS.index("enamel")
    normal[1, cars] += 0.9 * (view.up[cars] - 0.75) * (np.abs(view.normal[1, cars]) < 0.5)
    cloth = view.material == MATERIALS.index("cloth")
    normal[0, cloth] += 3.0 * view.across[cloth]
    changed = np.flatnonzero(leaves | cars | cloth)
    flat = normal.reshape(3, -1)
    bulging = flat[:, changed]
    flat[:, changed] = bulging / np.sqrt(np.maximum((bulging * bulging).sum(axis=0), 1e-6))
    return normal


def _sunshine(scene: Scene, street: Street, coarse: Floats) -> Floats:
    """Return the share of the sun that reaches each pixel, 0-1, (H, W)."""
    view = scene.view
    blur = view.surface.shape[0] / 190
    ground = view.surface == GROUND
    shadow = cv2.GaussianBlur(view.shadow, (0, 0), blur)
    crowns = cv2.GaussianBlur(view.dappled, (0, 0), 2 * blur)
    spots = _cloudy(view.place[0] * 3.1, view.place[2] * 3.1)
    crowns *= np.clip(0.75 - 2.2 * spots, 0, 1)
    taken = np.maximum(shadow, crowns) * ground
    # The shadow of the left houses: the higher the house, the further it reaches.
    first = float(view.place[2].min())
    reaches = np.zeros(1024, np.float32)  # by quarters of a metre along the street
    for block in street.blocks(first):
        for house in street.buildings(block):
            if house.side < 0:
                span = slice(
                    *(max(0, int(4 * (z - first) + 40)) for z in (house.start_m, house.end_m))
                )
                reaches[span] = street.pavement_m + street.verge_m + 0.35 * house.storeys
    off = view.place[0] + street.front_m
    source = view.place[2] - off * float(SUN[2] / SUN[0])
    index = np.clip(4 * (source - first) + 40, 0, len(reaches) - 1).astype(np.intp)
    reach = reaches[index] - 0.55 * view.place[1]
    houses = np.clip((reach - off) / 0.5 + 0.5, 0, 1) * (off > 0.02) * (reach > 0)
    return np.asarray(1 - np.maximum(taken, houses))


def _openness(scene: Scene, street: Street) -> Floats:
    """Return the share of the sky's light that corners and gaps leave over, 0-1, (H, W)."""
    view = scene.view
    # Inverse depth is linear on flat surfaces: what is above its mean lies in front of something
    # (Luft et al. 2006, "Image enhancement by unsharp masking the depth buffer").
    nearness = 1 / view.distance_m
    side = view.surface.shape[0] // 24 * 2 + 1
    behind = cv2.blur(nearness, (side, side)) - nearness
    gap = np.clip(behind / (nearness + 0.02), 0, 1)
    low = np.exp(-np.clip(view.place[1], 0, 9) / 0.6) * (view.surface > GROUND)
    leafy = view.material == MATERIALS.index("leaves")
    rim = np.where(leafy & (view.size_m > 0), np.clip(-view.round_y, 0, 1), 0)
    wall = np.exp(-np.clip(street.front_m - np.abs(view.place[0]), 0, 30) / 0.9)
    wall *= view.surface == GROUND
    under = cv2.GaussianBlur(view.shadow, (0, 0), view.surface.shape[0] / 60)
    under *= view.surface == GROUND
    open_sky = (1 - 0.45 * gap) * (1 - 0.40 * low) * (1 - 0.45 * rim) * (1 - 0.40 * wall)
    return np.asarray(open_sky * (1 - 0.35 * under))


def _mirror(view: View, normal: Floats, gloss: Floats, light: Floats, open_sky: Floats) -> None:
    """Add what windows, cars and the road at a flat angle mirror."""
    ground = view.surface == GROUND
    gloss[ground & (view.rays[1] > -0.6)] = 0.01  # elsewhere it is seen too steeply
    pixels = np.flatnonzero(gloss > 0)
    rays = view.rays.reshape(3, -1)[:, pixels]
    rays /= np.sqrt((rays * rays).sum(axis=0))
    facing = normal.reshape(3, -1)[:, pixels]
    cosine = (rays * facing).sum(axis=0)
    away = rays - 2 * cosine * facing  # (3, n)
    least = gloss.ravel()[pixels]
    flatness = np.clip(1 + cosine, 0, 1)
    share = least + 0.7 * (1 - least) * (flatness * flatness) ** 2 * flatness
    share[ground.ravel()[pixels]] *= 0.4  # rough
    share *= open_sky.ravel()[pixels]
    skyline = 0.34 + 0.10 * np.sin(9 * away[2]) + 0.05 * np.sin(31 * away[2] + 5 * away[0])
    houses = np.clip((skyline - away[1]) * 14, 0, 1) * np.clip(6 * np.abs(away[0]) - 1.5, 0, 1)
    height = np.clip(away[1], 0, 1) ** 0.5
    floor = np.clip(-8 * away[1], 0, 1)
    flat = light.reshape(3, -1)
    for channel in range(3):
        seen = HORIZON[channel] + (ZENITH[channel] - HORIZON[channel]) * height
        seen += (OPPOSITE[channel] - seen) * houses
        seen += (0.16 - seen) * floor
        flat[channel, pixels] += (seen * 1.1 - flat[channel, pixels]) * share


def _clouds(view: View, light: Floats, time_s: float) -> None:
    """Fill the sky: a gradient, and clouds with a bright and a dark side."""
    rows = int(np.flatnonzero((view.surface == SKY).any(axis=1))[-1] + 1)
    sky = view.surface[:rows] == SKY
    x, y, z = view.rays[:, :rows]
    height = np.clip(y / np.sqrt(x * x + y * y + z * z), 0.02, 1)
    across, along = 7 * x / height + 0.3 * time_s, 7 * z / height
    heap = _cloudy(across, along) + 0.4 * _cloudy(4.3 * across, 4.3 * along)
    lit = heap - _cloudy(across - 2.5, along - 1.5) - 0.3 * _cloudy(4.3 * across - 4, 4.3 * along)
    cover = np.clip(2.4 * heap + 0.05, 0, 0.95) * np.clip(height * 5, 0, 1)
    blue = height**0.55
    for channel in range(3):
        clear = HORIZON[channel] + (ZENITH[channel] - HORIZON[channel]) * blue
        white = CLOUD[channel] * np.clip(0.86 + 0.22 * lit - 0.25 * np.clip(heap, 0, 1), 0.5, 1.25)
        filled = clear + (white - clear) * cover
        light[channel, :rows][sky] = filled[sky]


def _develop(light: Floats, rng: np.random.Generator) -> Picture:
    """Return what a camera makes of linear light, (H, W, 3) BGR: bloom, tones, vignette, noise."""
    height, width = light.shape[:2]
    quarter = cv2.resize(
        np.maximum(light - 0.9, 0), (width // 4, height // 4), interpolation=cv2.INTER_AREA
    )
    glow = cv2.GaussianBlur(quarter, (0, 0), width / 80)
    light = light + 0.35 * cv2.resize(glow, (width, height), interpolation=cv2.INTER_LINEAR)
    # Narkowicz 2016, "ACES filmic tone mapping curve"
    light = 0.72 * light
    toned = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    picture = np.sqrt(np.clip(toned, 0, 1))
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + 1.08 * (picture - grey)
    picture *= np.array([0.985, 1.0, 1.02], np.float32)  # a little warm
    picture += np.array([0.012, 0.006, 0.0], np.float32) * (1 - grey)  # cool shadows
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    picture *= (1 - 0.16 * (rows**2 + columns**2) / 2)[..., None].astype(np.float32)
    grain = rng.standard_normal((height, width, 1), np.float32) * 0.010
    grain = grain + rng.standard_normal((height, width, 3), np.float32) * 0.004
    return np.asarray(np.clip((picture + grain) * 255, 0, 255).round(), np.uint8)
