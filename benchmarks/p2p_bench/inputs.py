"""The frames that every backend translates."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.errors import SourceError
from p2p_runtime.model.bundle import GoldenFrame
from p2p_runtime.video.sources import open_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.model.contract import PixelContract

    from .backends import Files

__all__ = ["bench_frames"]

DRAWN = 16


def bench_frames(
    files: Files, spec: str | None, count: int, batch: int
) -> tuple[NDArray[np.uint8], str]:
    """Return batches to time with, and a few words on where they come from.

    Args:
        files: give the contract, and perhaps a checkpoint.
        spec: a label video or a folder of label maps; None for the validation inputs that the
            checkpoint carries, or, without torch to read them, drawn frames.
        count: how many batches.
        batch: frames in each.

    Returns:
        (count, batch, H, W, 3) uint8 BGR. Frames are repeated until there are enough.

    Raises:
        SourceError: there are no frames.
    """
    if spec is not None:
        frames = _read(files.contract, spec, count * batch)
        said = f"{len(frames)} given inputs"
    elif files.checkpoint is not None and importlib.util.find_spec("torch"):
        frames = _carried(files.checkpoint)
        said = f"{len(frames)} validation inputs"
    else:
        frames = _drawn(files.contract, min(count * batch, DRAWN))
        said = f"{len(frames)} drawn inputs"
    numbers = np.arange(count * batch) % len(frames)
    return frames[numbers].reshape(count, batch, *frames.shape[1:]), said


def _carried(checkpoint: Path) -> NDArray[np.uint8]:
    from p2p_train.training.checkpoint import Checkpoint

    frames: NDArray[np.uint8] = Checkpoint.load(checkpoint).frames.numpy()
    return frames


def _drawn(contract: PixelContract, count: int) -> NDArray[np.uint8]:
    return np.stack([GoldenFrame.draw(contract, seed) for seed in range(count)])


def _read(contract: PixelContract, spec: str, most: int) -> NDArray[np.uint8]:
    with contextlib.closing(open_source(spec)) as source:
        frames = [contract.preprocess(frame.image) for frame in source]
    if not frames:
        raise SourceError(f"{spec} holds no frames")
    chosen = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return np.stack([frames[number] for number in chosen])
