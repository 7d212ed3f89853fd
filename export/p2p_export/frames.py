"""Input frames for measuring: parity frames and calibration frames."""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.errors import DatasetError, ExportError
from p2p_train.data import read_image
from p2p_train.pairs import IMAGE_SUFFIXES, ImageRef

from .parity import MIN_FRAMES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from p2p_runtime.contract import PixelContract
    from p2p_train.config import InputSide

__all__ = ["read_inputs", "top_up"]

PAIR_MARGIN = 0.1
"""The palette's share of a label half exceeds that of a photo half by 0.28 on Cityscapes pairs."""

PAIR_SAMPLES = 8

_log = logging.getLogger(__name__)


def read_inputs(
    folder: Path, contract: PixelContract, input_side: InputSide, limit: int
) -> NDArray[np.uint8]:
    """Read up to ``limit`` generator inputs, evenly spread over a folder's images.

    The folder holds inputs, or side-by-side pairs as for training (directly, or in ``val/`` or
    ``train/``); pairs are known by their halves.

    Returns:
        (N, H, W, 3) uint8 BGR of the contract's size.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
    """
    parts = [part for part in (folder / "train", folder / "val") if part.is_dir()]
    files = _images_in(parts[0] if parts else folder)
    places = np.linspace(0, len(files) - 1, min(limit, len(files)))
    chosen = [files[round(place)] for place in places]
    pairs = _are_pairs(chosen[:PAIR_SAMPLES], contract, input_side)
    kind = f"pairs (input: {input_side} half)" if pairs else "inputs"
    _log.info("frames: %d of %d in %s, read as %s", len(chosen), len(files), folder, kind)
    refs = [ImageRef(path=file, part=input_side if pairs else "whole") for file in chosen]
    return np.stack([contract.fit(read_image(ref)) for ref in refs])


def top_up(frames: NDArray[np.uint8], count: int = MIN_FRAMES) -> tuple[NDArray[np.uint8], int]:
    """Add mirrored and shifted copies until there are ``count`` frames.

    Returns:
        (N, H, W, 3) uint8 BGR, the given frames first, and how many were made up.

    Raises:
        ExportError: there is not one frame to begin with.
    """
    if len(frames) == 0:
        raise ExportError(
            "the checkpoint holds no validation frames to measure parity on; "
            "give a folder of inputs with --frames"
        )
    made: list[NDArray[np.uint8]] = []
    half = frames.shape[2] // 2
    for shift, rows, columns in list(product((0, half), (1, -1), (1, -1)))[1:]:
        made.extend(np.roll(frames, shift, axis=2)[:, ::rows, ::columns])
    missing = max(0, count - len(frames))
    return np.ascontiguousarray(np.stack([*frames, *made[:missing]])), missing


def _are_pairs(files: list[Path], contract: PixelContract, input_side: InputSide) -> bool:
    """Tell whether images are pairs: by their halves' colours, or else by their width.

    With a palette, the input half of a pair is a label map and the other is not. Without one, a
    pair is exactly twice as wide as the contract's shape.
    """
    images = [read_image(ImageRef(path=file)) for file in files]
    if contract.palette is None:
        return all(
            image.shape[1] * contract.height == 2 * image.shape[0] * contract.width
            for image in images
        )
    other_side: InputSide = "left" if input_side == "right" else "right"
    labels, others = (
        np.mean([contract.palette.coverage(_half(image, side)) for image in images])
        for side in (input_side, other_side)
    )
    return bool(labels - others > PAIR_MARGIN)


def _half(image: NDArray[np.uint8], side: InputSide) -> NDArray[np.uint8]:
    middle = image.shape[1] // 2
    return image[:, :middle] if side == "left" else image[:, middle:]


def _images_in(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise DatasetError(f"cannot read folder {folder}: {error.strerror}") from error
    if not files:
        raise DatasetError(f"no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {folder}")
    return files
