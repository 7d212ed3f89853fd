"""Input frames for measuring: parity frames and calibration frames."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from p2p_runtime.errors import ExportError
from p2p_train.data.decode import read_image, read_input
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts import ImageRef, images_in
from p2p_train.data.layouts.two_folders import find_folders

from .parity import MIN_FRAMES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from p2p_runtime.model.contract import PixelContract
    from p2p_train.config import InputSide, TrainConfig

__all__ = ["read_inputs", "top_up"]

PAIR_MARGIN = 0.1
"""The palette's share of a label half exceeds that of a photo half by 0.28 on Cityscapes pairs."""

SAMPLES = 8

_log = logging.getLogger(__name__)


def read_inputs(
    folder: Path,
    config: TrainConfig,
    contract: PixelContract,
    *,
    limit: int,
    part: Literal["train", "val"],
) -> NDArray[np.uint8]:
    """Read up to ``limit`` generator inputs, evenly spread over a folder's.

    Args:
        folder: a data set as for training, or loose images: inputs, side-by-side pairs or maps of
            class ids, told apart by their colours.
        config: how the run read its own data set.
        contract: what inputs become.
        limit: most frames.
        part: which part of a data set to take.

    Returns:
        (N, H, W, 3) uint8 BGR of the contract's size.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
    """
    if _is_data_set(folder, config):
        source = open_pairs(replace(config, data=str(folder)))
        refs = [pair.input for pair in getattr(source.pairs, part)]
        note = f"{part} part of {source.pairs.layout}"
    else:
        refs, note = _loose_images(images_in(folder), config.input_side, contract)
    chosen = _spread(refs, limit)
    _log.info("frames: %d of %d in %s (%s)", len(chosen), len(refs), folder, note)
    return np.stack([contract.preprocess(read_input(ref, contract.palette)) for ref in chosen])


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


def _is_data_set(folder: Path, config: TrainConfig) -> bool:
    named = config.input_dir is not None and (folder / config.input_dir).is_dir()
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
    """Tell whether images are side-by-side pairs: by their halves' colours, or by their width.

    With a palette, the input half of a pair is a label map and the other is not. Without one, a
    pair is exactly twice as wide as the contract's shape.
    """
    if contract.palette is None:
        return all(
            image.shape[1] * contract.height == 2 * image.shape[0] * contract.width
            for image in images
        )
    middles = [image.shape[1] // 2 for image in images]
    left, right = (
        float(np.mean([contract.palette.coverage(half) for half in halves]))
        for halves in (
            [image[:, :middle] for image, middle in zip(images, middles, strict=True)],
            [image[:, middle:] for image, middle in zip(images, middles, strict=True)],
        )
    )
    return (left - right if input_side == "left" else right - left) > PAIR_MARGIN


def _spread(refs: Sequence[ImageRef], limit: int) -> list[ImageRef]:
    places = np.linspace(0, len(refs) - 1, min(limit, len(refs)))
    return [refs[round(place)] for place in places]
