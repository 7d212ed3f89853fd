"""Write procedural scenes the way users keep their own: side-by-side pictures, and a video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from p2p_runtime.errors import OutputError
from p2p_runtime.files import write_picture

from .draw import draw_scene

__all__ = ["write_clip", "write_dataset"]

FRAME_RATE = 15
VAL_SHARE = 0.1


def write_dataset(folder: Path, pairs: int, *, height: int, width: int, seed: int = 0) -> None:
    """Write side-by-side PNGs, picture left, label map right, as ``train/`` and ``val/``.

    Args:
        folder: where the two folders go.
        pairs: how many for training; a tenth as many, at least one, go to ``val/``.
        height, width: size of one half in pixels.
        seed: picks the scenes; no scene is in both folders.

    Raises:
        OutputError: a picture cannot be written.
    """
    held_out = max(1, round(pairs * VAL_SHARE))
    for number in range(pairs + held_out):
        part = "train" if number < pairs else "val"
        # Moving times make every pair another moment, also of streets that look alike.
        label, photo = draw_scene(seed + number, height, width, time_s=1.7 * (number % 7))
        pair = np.concatenate([photo, label], axis=1)  # (height, 2 * width, 3)
        write_picture(folder / part / f"{number:05d}.png", pair)


def write_clip(
    path: Path, frames: int, *, height: int, width: int, seed: int = 0, crf: int = 18
) -> None:
    """Write a drive through one street as a label video, H.264 in MP4, 15 frames a second.

    The codec blurs the label colours, as it does in the videos that users have.

    Args:
        path: the video.
        frames: how many.
        height, width: size in pixels, both even.
        seed: picks the street.
        crf: the codec's quality; 0 is lossless, 23 its default.

    Raises:
        OutputError: the video cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w") as container:
            options = {"crf": str(crf)}
            stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE), options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(frames):
                label, _ = draw_scene(seed, height, width, time_s=number / FRAME_RATE)
                picture = av.VideoFrame.from_ndarray(label, format="bgr24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    except (OSError, av.FFmpegError) as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
