"""``python -m experiments.drives.draw``: triples of labels, plain and rich pictures.

Each drive has a street of its own and consecutive frames. Textures stay with their surfaces while
the camera moves, and the three pictures of a triple share their geometry to the pixel.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.console import P2PCommand, Size, setup_logging
from p2p_runtime.files import write_picture
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.scenes import draw, things
from p2p_train.scenes.street import Street

from .light import plain_picture, rich_picture, scene_of
from .surfaces import SurfaceCanvas

__all__ = ["Triple", "draw_triple", "main", "write_triples"]

SCALE = 2
"""Factor by which surfaces are found larger, so that edges are soft."""

VAL_SHARE = 0.1


class Triple(NamedTuple):
    """A moment of a drive, three times (H, W, 3) uint8 BGR."""

    label: NDArray[np.uint8]
    plain: NDArray[np.uint8]
    rich: NDArray[np.uint8]


def draw_triple(seed: int, height: int, width: int, time_s: float = 0.0) -> Triple:
    """Draw a moment of a drive; equal arguments give equal pixels.

    Args:
        seed: picks the street, 0 or more.
        height, width: size in pixels.
        time_s: the moment; the camera, the cars and the people move with it.
    """
    street = Street.from_seed(seed)
    canvas = SurfaceCanvas(draw.camera_at(street, height * SCALE, width * SCALE, time_s))
    found = street.things(float(canvas.camera.position_m[2]), time_s)
    for thing in found:
        shade = canvas.shade_by_leaves if thing.kind == "tree" else canvas.shade
        shade([things.thing_shadow(thing)])
    draw.paint_objects(canvas, street, found)
    scene = scene_of(canvas.view(), street)
    rng = np.random.default_rng((seed, round(time_s * 1000)))
    return Triple(
        label=CITYSCAPES.to_colours(np.ascontiguousarray(scene.labels[::SCALE, ::SCALE])),
        plain=plain_picture(scene, (width, height)),
        rich=rich_picture(scene, street, (width, height), time_s, rng),
    )


def write_triples(
    folder: Path,
    drives: int,
    frames: int,
    *,
    height: int,
    width: int,
    every_s: float,
    seed: int = 0,
) -> None:
    """Write drives to ``train/`` and ``val/``, each with ``labels/``, ``plain/`` and ``rich/``.

    Args:
        folder: where the two folders go.
        drives: number of drives for training; a tenth as many, at least one, for validation.
        frames: number of frames of a drive, ``every_s`` seconds apart.
        height, width: size in pixels.
        seed: picks the streets, each of which is in one folder only.

    Raises:
        OutputError: a picture cannot be written.
    """
    held_out = max(1, round(drives * VAL_SHARE))
    for drive in range(drives + held_out):
        part = folder / ("train" if drive < drives else "val")
        for frame in range(frames):
            triple = draw_triple(seed + drive, height, width, time_s=frame * every_s)
            name = f"{drive:04d}_{frame:04d}.png"
            for kind, picture in zip(("labels", "plain", "rich"), triple, strict=True):
                write_picture(part / kind / name, picture)


@click.command(cls=P2PCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--drives", metavar="N", type=click.IntRange(1), default=100, help="For training.")
@click.option("--frames", metavar="N", type=click.IntRange(1), default=4, help="Of each drive.")
@click.option("--size", metavar="WxH", type=Size(), default="512x256", help="Of a picture.")
@click.option("--every", metavar="S", type=float, default=1.7, help="Seconds between frames.")
@click.option("--seed", metavar="N", type=click.IntRange(0), default=0, help="Picks the streets.")
def main(
    folder: Path, drives: int, frames: int, size: tuple[int, int], every: float, seed: int
) -> None:
    """Draw triples: labels in Cityscapes' colours, plain and rich pictures of drives."""
    setup_logging()
    width, height = size
    write_triples(folder, drives, frames, height=height, width=width, every_s=every, seed=seed)


if __name__ == "__main__":
    main()
