"""Draw tiny pairs: label blocks, and a photo that is a function of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from p2p_runtime.labels.palette import CITYSCAPES

SIDE_PX = 32
CLASSES = ("road", "building", "vegetation", "sky", "car")


def draw_pair(seed: int, side_px: int = SIDE_PX) -> np.ndarray:
    """Return (H, 2 W, 3) uint8 RGB: a made-up photo beside its label map."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((side_px, side_px), np.intp)
    for _ in range(6):
        top, left = rng.integers(0, side_px - 4, 2)
        ids[top : top + side_px // 2, left : left + side_px // 2] = rng.integers(len(CLASSES))
    chosen = [CITYSCAPES.classes.index(name) for name in CLASSES]
    label = np.array([CITYSCAPES.colours_rgb[index] for index in chosen], np.uint8)[ids]
    photo = 255 - label // 2 + rng.integers(0, 8, label.shape).astype(np.uint8)
    return np.hstack([photo, label])


def write_pairs(folder: Path, count: int, *, first: int = 0, suffix: str = ".png") -> None:
    """Write ``count`` side-by-side images."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        Image.fromarray(draw_pair(index)).save(folder / f"{index:03d}{suffix}")


def write_folders(source: Path, target: Path, count: int, first: int = 0) -> None:
    """Write ``count`` label maps in palette colours and, under the same names, their photos."""
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        pair = draw_pair(index)
        Image.fromarray(pair[:, SIDE_PX:]).save(source / f"{index:03d}.png")
        Image.fromarray(pair[:, :SIDE_PX]).save(target / f"{index:03d}.png")
