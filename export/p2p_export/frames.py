"""Input frames for the parity check, for calibration and for the segmentation score."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ExportError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig, InputSide
from p2p_train.data.decode import read_image, read_input
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts.images import ImageRef, images_in
from p2p_train.data.layouts.two_folders import find_folders

__all__ = ["MIN_FRAMES", "read_calibration", "read_inputs", "top_up"]

MIN_FRAMES = 8
"""Minimum number of frames of a parity check."""

CALIBRATION_FRAMES = 100
"""Maximum number of calibration frames. On Cityscapes, 50 leave single frames outside the ranges
(28 dB); 100 leave none."""

MIN_CALIBRATION_FRAMES = 8

PAIR_MARGIN = 0.1
"""Minimum difference of palette coverage between label and photo half. Cityscapes pairs: 0.28."""

SAMPLES = 8
"""Maximum number of images that decide what a folder of loose images holds."""

_log = logging.getLogger(__name__)


def read_inputs(
    folder: Path,
    data: DataConfig,
    contract: PixelContract,
    *,
    limit: int,
    part: Literal["train", "val"],
) -> NDArray[np.uint8]:
    """Read up to ``limit`` generator inputs, evenly spread over a folder.

    Args:
        folder: a data set as for training, or loose images: inputs, side-by-side pairs or maps of
            class ids, told apart by their colours.
        data: how the run read its own data set.
        contract: how images become generator inputs.
        limit: maximum number of frames.
        part: part of a data set to take.

    Returns:
        (N, H, W, 3) uint8 BGR of the contract's size.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
    """
    if _is_data_set(folder, data):
        source = open_pairs(replace(data, folder=str(folder)))
        refs = [pair.input for pair in getattr(source.pairs, part)]
        note = f"{part} part of {source.pairs.layout}"
    else:
        refs, note = _loose_images(images_in(folder), data.input_side, contract)
    chosen = _spread(refs, limit)
    _log.info("frames: %d of %d in %s (%s)", len(chosen), len(refs), folder, note)
    return np.stack([contract.preprocess(read_input(ref, contract.palette)) for ref in chosen])


def read_calibration(
    folder: Path, data: DataConfig, contract: PixelContract
) -> tuple[NDArray[np.uint8], str]:
    """Read up to 100 calibration inputs, (N, H, W, 3) uint8 BGR, and describe them in a sentence.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
        ExportError: too few of them are different and of more than one colour.
    """
    frames = read_inputs(folder, data, contract, limit=CALIBRATION_FRAMES, part="train")
    useful = {frame.tobytes() for frame in frames if not (frame == frame[0, 0]).all()}
    if len(useful) < MIN_CALIBRATION_FRAMES:
        raise ExportError(
            f"{folder} holds {len(useful)} different inputs of more than one colour; int8 needs "
            f"at least {MIN_CALIBRATION_FRAMES}, and {CALIBRATION_FRAMES} for good ranges"
        )
    if len(useful) < CALIBRATION_FRAMES:
        _log.warning(
            "int8: %d different calibration inputs; with fewer than %d, rare images may exceed "
            "the ranges",
            len(useful),
            CALIBRATION_FRAMES,
        )
    digest = hashlib.sha256(frames.tobytes()).hexdigest()
    return frames, f"ranges from {len(frames)} inputs, sha256 {digest[:16]}"


def top_up(frames: NDArray[np.uint8], count: int = MIN_FRAMES) -> tuple[NDArray[np.uint8], int]:
    """Add mirrored and shifted copies until there are ``count`` frames.

    Returns:
        (N, H, W, 3) uint8 BGR, the given frames first, and the number of copies.

    Raises:
        ExportError: there is no frame to copy.
    """
    if len(frames) == 0:
        raise ExportError(
            "the checkpoint holds no frames for the parity check; "
            "name a folder of inputs with --frames DIR"
        )
    copies: list[NDArray[np.uint8]] = []
    half = frames.shape[2] // 2
    for shift, rows, columns in list(product((0, half), (1, -1), (1, -1)))[1:]:
        copies.extend(np.roll(frames, shift, axis=2)[:, ::rows, ::columns])
    missing = max(0, count - len(frames))
    return np.ascontiguousarray(np.stack([*frames, *copies[:missing]])), missing


def _is_data_set(folder: Path, data: DataConfig) -> bool:
    named = data.input_dir is not None and (folder / data.input_dir).is_dir()
    return (
        named
        or (folder / "train").is_dir()
        or (folder.is_dir() and find_folders(folder, None, None) is not None)
    )


def _loose_images(
    files: list[Path], side: InputSide, contract: PixelContract
) -> tuple[list[ImageRef], str]:
    """Tell inputs, pairs and class ids apart by a few of the images."""
    images = [read_image(ref) for ref in _spread([ImageRef(path=file) for file in files], SAMPLES)]
    if _are_pairs(images, contract, side):
        return [ImageRef(path=file, part=side) for file in files], f"pairs, input: {side} half"
    ids = contract.palette is not None and all(
        int(image.max()) < len(contract.palette.classes) and (image == image[..., :1]).all()
        for image in images
    )
    return [ImageRef(path=file, ids=ids) for file in files], "class ids" if ids else "inputs"


def _are_pairs(
    images: list[NDArray[np.uint8]], contract: PixelContract, input_side: InputSide
) -> bool:
    """Return whether images are side-by-side pairs.

    With a palette, the input half of a pair is a label map and the other half is not. Without one,
    a pair is exactly twice as wide as the contract's shape.
    """
    if contract.palette is None:
        return all(
            image.shape[1] * contract.height == 2 * image.shape[0] * contract.width
            for image in images
        )
    halves = [np.array_split(image, [image.shape[1] // 2], axis=1) for image in images]
    left, right = (
        float(np.mean([contract.palette.coverage(half) for half in side]))
        for side in zip(*halves, strict=True)
    )
    return (left - right if input_side == "left" else right - left) > PAIR_MARGIN


def _spread(refs: Sequence[ImageRef], limit: int) -> list[ImageRef]:
    indices = np.linspace(0, len(refs) - 1, min(limit, len(refs)))
    return [refs[round(index)] for index in indices]
