"""The label maps that every backend translates."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import SourceError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.video.sources import open_source

from .files import Files

__all__ = ["bench_frames", "read_frames"]

DRAWN = 16
"""Maximum number of different drawn label maps."""


def bench_frames(
    files: Files, spec: str | None, count: int, batch: int
) -> tuple[NDArray[np.uint8], str]:
    """Return (count, batch, H, W, 3) uint8 BGR, and a few words on where they come from.

    ``spec`` is a label video or a folder of label maps; None stands for the validation inputs in
    the checkpoint or, without a checkpoint or torch to read it, for drawn label maps. Frames are
    repeated until there are enough.

    Raises:
        SourceError: the frames cannot be read, or there are none.
    """
    if spec is not None:
        frames = _read(files.contract, spec, count * batch)
        words = f"{len(frames)} given inputs"
    elif files.checkpoint is not None and importlib.util.find_spec("torch"):
        from p2p_train.training.checkpoint import Checkpoint

        own = Checkpoint.load(files.checkpoint).frames.numpy()
        frames = np.stack([files.contract.preprocess(frame) for frame in own])
        words = f"{len(frames)} validation inputs"
    else:
        seeds = range(min(count * batch, DRAWN))
        frames = np.stack([GoldenFrame.draw(files.contract, seed) for seed in seeds])
        words = f"{len(frames)} drawn inputs"
    numbers = np.arange(count * batch) % len(frames)
    return frames[numbers].reshape(count, batch, *frames.shape[1:]), words


def _read(contract: PixelContract, spec: str, most: int) -> NDArray[np.uint8]:
    frames = [contract.preprocess(frame) for frame in read_frames(spec)]
    chosen = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return np.stack([frames[number] for number in chosen])


def read_frames(spec: str | Path) -> list[NDArray[np.uint8]]:
    """Return all frames of a video or a folder, (H, W, 3) uint8 BGR each.

    Raises:
        SourceError: they cannot be read, or there are none.
    """
    with contextlib.closing(open_source(str(spec))) as source:
        frames = [frame.image.copy() for frame in source]
    if not frames:
        raise SourceError(f"{spec} holds no frames")
    return frames
