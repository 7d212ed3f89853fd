"""Draw scenes: one frame, a data set of side-by-side pairs, a label video."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import OutputError
from p2p_runtime.files import write_picture
from p2p_runtime.labels.palette import CITYSCAPES

from . import surfaces, things
from .canvas import Canvas
from .geometry import Camera
from .street import Street, Thing

__all__ = [
    "FRAME_RATE", "camera_at", "draw_scene", "paint_objects", "write_clip", "write_dataset",
]  # fmt: skip

SUPERSAMPLING = 2
"""Factor by which frames are painted larger, so that the photo's edges are soft."""

FRAME_RATE = 15
"""Frames per second of a clip."""

VAL_SHARE = 0.1
"""Validation pairs per training pair of a data set."""


def draw_scene(
    seed: int, height: int, width: int, time_s: float = 0.0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a street scene; equal arguments give equal pixels.

    Args:
        seed: picks the street, 0 or more.
        height, width: size in pixels.
        time_s: the moment; the camera, the cars and the people move with it.

    Returns:
        The label map in the Cityscapes palette and the photo, (height, width, 3) uint8 BGR each.
    """
    street = Street.from_seed(seed)
    canvas = Canvas(camera_at(street, height * SUPERSAMPLING, width * SUPERSAMPLING, time_s))
    _paint(canvas, street, time_s)
    label = CITYSCAPES.to_colours(canvas.ids[::SUPERSAMPLING, ::SUPERSAMPLING])
    return label, _develop(canvas, seed, time_s)


def camera_at(street: Street, height: int, width: int, time_s: float) -> Camera:
    """Return the view of a street at a moment; height and width are in pixels."""
    rng = np.random.default_rng((street.seed, 99))
    x_m = street.lane_m + rng.uniform(-0.4, 0.2)
    y_m = rng.uniform(1.35, 1.9) + 0.015 * np.sin(5 * time_s)
    return Camera(
        position_m=np.array([x_m, y_m, street.speed_m_s * time_s]),
        yaw_rad=rng.uniform(-0.10, 0.06) + 0.01 * np.sin(0.7 * time_s),
        pitch_rad=rng.uniform(0.0, 0.05),
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
    houses = [house for block in street.blocks(camera_m) for house in street.buildings(block)]
    shadows = [surfaces.house_shadow(street, house) for house in houses if house.side < 0]
    canvas.shade(shadows + [things.thing_shadow(thing) for thing in found])
    paint_objects(canvas, street, found)


def paint_objects(canvas: Canvas, street: Street, found: list[Thing]) -> None:
    """Paint all that stands on the ground, far to near; ``found`` are the street's things."""
    blocks = list(reversed(street.blocks(canvas.camera.position_m[2])))
    surfaces.paint_backdrop(canvas, street)
    for block in blocks:
        for side in (-1, 1):
            if street.is_green(block, side):
                surfaces.paint_park(canvas, street, block, side)
    for block in blocks:
        for house in street.buildings(block):
            surfaces.paint_house(canvas, street, house)
    for thing in found:
        things.paint_thing(canvas, thing)


def _develop(canvas: Canvas, seed: int, time_s: float) -> NDArray[np.uint8]:
    """Return the photo, (height, width, 3) uint8 BGR: resampled, with sensor noise."""
    height, width = (side // SUPERSAMPLING for side in canvas.ids.shape)
    photo = cv2.resize(canvas.photo, (width, height), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng((seed, round(time_s * 1000)))
    grain = rng.normal(0.0, 0.008, photo.shape)
    return np.asarray(np.clip((photo + grain) * 255, 0, 255).round(), np.uint8)


def write_dataset(folder: Path, pairs: int, *, height: int, width: int, seed: int = 0) -> None:
    """Write side-by-side PNGs, photo left, label map right, as ``train/`` and ``val/``.

    Args:
        folder: where the two folders go.
        pairs: number of training pairs; a tenth as many, at least one, go to ``val/``.
        height, width: size of one half in pixels.
        seed: picks the scenes, each of which is in one folder only.

    Raises:
        OutputError: a picture cannot be written.
    """
    held_out = max(1, round(pairs * VAL_SHARE))
    for number in range(pairs + held_out):
        part = "train" if number < pairs else "val"
        # Different moments, so that streets that look alike still give different pairs
        label, photo = draw_scene(seed + number, height, width, time_s=1.7 * (number % 7))
        pair = np.concatenate([photo, label], axis=1)  # (height, 2 * width, 3)
        write_picture(folder / part / f"{number:05d}.png", pair)


def write_clip(
    path: Path, frames: int, *, height: int, width: int, seed: int = 0, crf: int = 18
) -> None:
    """Write a drive through one street as a label video, H.264 in MP4, 15 frames a second.

    The codec blurs the label colours, as in users' own videos.

    Args:
        path, frames: the video, and its number of frames.
        height, width: size in pixels, both even.
        seed: picks the street.
        crf: the codec's quality; 0 is lossless, 23 its default.

    Raises:
        OutputError: the video cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", FRAME_RATE, options={"crf": str(crf)})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(frames):
                label, _ = draw_scene(seed, height, width, time_s=number / FRAME_RATE)
                picture = av.VideoFrame.from_ndarray(label, format="bgr24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    except (OSError, av.FFmpegError) as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
