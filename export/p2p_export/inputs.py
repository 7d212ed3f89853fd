"""What an export starts from: a trained generator, and input frames to measure it with.

Frames serve the parity check, the calibration of int8 and the segmentation score.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_runtime import __version__
from p2p_runtime.errors import ConfigError, ExportError, count_of
from p2p_runtime.files import sha256_of_file
from p2p_runtime.labels.ids import own_ids
from p2p_runtime.labels.palette import Palette
from p2p_runtime.memory import check_memory, generator_bytes
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig
from p2p_train.data.decode import read_image, read_input
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts.images import ImageRef, images_in
from p2p_train.data.layouts.index import evenly_spread
from p2p_train.data.layouts.two_folders import find_folders
from p2p_train.training.checkpoint import Checkpoint

__all__ = [
    "MIN_FRAMES", "TrainedGenerator", "check_size", "load_checkpoint", "origin_of",
    "read_calibration", "read_inputs", "require_memory", "top_up",
]  # fmt: skip

MIN_SIDE_PX = 32
"""Minimum width and height of an exported model's frames."""

MIN_FRAMES = 8
"""Minimum number of frames of a parity check."""

CALIBRATION_FRAMES = 100
"""Maximum number of calibration frames. On Cityscapes, 50 leave single frames outside the ranges
(28 dB); 100 leave none."""

MIN_CALIBRATION_FRAMES = 8
"""Minimum number of different calibration frames of more than one colour."""

PAIR_MARGIN = 0.1
"""Minimum difference of palette coverage between label and photo half. Cityscapes pairs: 0.28."""

SAMPLES = 8
"""Maximum number of images that decide what a folder of loose images holds."""

PARITY_BYTES = 640
"""What comparing frames takes a pixel besides the generator, measured at 512 to 2048 px."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedGenerator:
    """A generator in ``eval`` mode and all that an export needs to know about it.

    Attributes:
        module: (N, 3, H, W) RGB signal in [-1, 1] to the same.
        data: how folders of inputs are read, and where the run's own data lie.
        frames: (N, H, W, 3) uint8 BGR, default inputs of the parity check; N may be 0.
        description: architecture; its ``mode`` says which function is exported.
        provenance: origin of the weights.
    """

    module: nn.Module
    contract: PixelContract
    data: DataConfig
    frames: NDArray[np.uint8]
    description: dict[str, Any]
    provenance: dict[str, Any]


def load_checkpoint(path: Path, size: tuple[int, int] | None = None) -> TrainedGenerator:
    """Load a checkpoint of ``p2p-train`` as a model of ``size``, (width, height) in pixels.

    Raises:
        CheckpointError: it is missing, broken, unsafe, or of another schema.
        ConfigError: the generator cannot translate frames of ``size``, or memory is short.
    """
    checkpoint = Checkpoint.load(path)
    config, contract = checkpoint.config, checkpoint.contract
    trained_size = f"{contract.width}x{contract.height}"
    trained = TrainedGenerator(
        module=checkpoint.build_generator(),
        contract=contract,
        data=config.data,
        frames=checkpoint.frames.numpy(),
        description={
            "architecture": "unet",
            "ngf": config.model.ngf,
            "downsamplings": config.downsamplings,
            "norm": config.model.norm,
            "mode": "eval: running statistics, no dropout",
        },
        provenance={
            **origin_of(path),
            "dataset_fingerprint": checkpoint.dataset.get("fingerprint"),
            "images_seen": checkpoint.progress.get("images_seen"),
            "trained_size": trained_size,
        },
    )
    if size in (None, (contract.width, contract.height)):
        return trained
    levels = config.downsamplings
    check_size(size, 2**levels, f"this generator of {levels} downsamplings")
    text = "trained at %s px; parity does not tell how good images of %dx%d px are: look at some"
    _log.warning(text, trained_size, *size)
    return _resized(trained, *size)


def check_size(size: tuple[int, int], step: int, network: str) -> None:
    """Check that both sides of ``size``, (width, height) in pixels, are multiples of ``step``.

    Raises:
        ConfigError: they are not, or one is under 32 px; the message names the nearest sizes.
    """
    if all(side % step == 0 and side >= MIN_SIDE_PX for side in size):
        return
    least = -(-MIN_SIDE_PX // step)
    around = [[max(least, side // step), max(least, -(-side // step))] for side in size]
    near = dict.fromkeys(
        f"{width * step}x{height * step}" for width, height in zip(*around, strict=True)
    )
    raise ConfigError(
        f"--size {size[0]}x{size[1]} does not fit {network}: both sides must be multiples of "
        f"{step}, {MIN_SIDE_PX} px or more; the nearest: {' and '.join(near)}"
    )


def require_memory(network: nn.Module, width: int, height: int) -> None:
    """Raise a ConfigError if an export of a size in pixels takes more memory than is free."""
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    needed = generator_bytes(first.out_channels, width, height) + PARITY_BYTES * width * height
    check_memory(needed, f"an export of {width}x{height} px", "choose a smaller --size")


def _resized(trained: TrainedGenerator, width: int, height: int) -> TrainedGenerator:
    """Return the generator as one of another size in pixels; its frames are stretched."""
    require_memory(trained.module, width, height)
    contract = replace(trained.contract, width=width, height=height)
    frames = [contract.preprocess(frame) for frame in trained.frames]
    stacked = np.array(frames, np.uint8).reshape(-1, height, width, 3)
    return replace(trained, contract=contract, frames=stacked)


def origin_of(path: Path) -> dict[str, Any]:
    """Return the provenance that every checkpoint file has: its SHA-256 and the tool versions."""
    tools = {"pix2pix-edge": __version__, "torch": torch.__version__, "onnx": onnx.__version__}
    return {"checkpoint_sha256": sha256_of_file(path), "tools": tools}


def read_inputs(
    folder: Path, trained: TrainedGenerator, *, limit: int, part: Literal["train", "val"]
) -> NDArray[np.uint8]:
    """Read up to ``limit`` generator inputs, (N, H, W, 3) uint8 BGR, spread evenly over a folder.

    It holds a data set as for training, of which a ``part`` is taken, or loose images: inputs,
    side-by-side pairs or maps of class ids, told apart by their colours.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
    """
    data, contract = trained.data, trained.contract
    if _is_data_set(folder, data):
        source = open_pairs(replace(data, folder=str(folder)))
        refs = [pair.input for pair in getattr(source.pairs, part)]
        note = f"{part} part of {source.pairs.layout}"
    else:
        refs, note = _loose_images(images_in(folder), data, contract)
    chosen = [refs[index] for index in evenly_spread(len(refs), limit)]
    _log.info("frames: %d of %d in %s (%s)", len(chosen), len(refs), folder, note)
    as_trained = [replace(ref, levels=contract.levels_16_bit) for ref in chosen]
    return np.stack([contract.preprocess(read_input(ref, contract.palette)) for ref in as_trained])


def read_calibration(folder: Path, trained: TrainedGenerator) -> tuple[NDArray[np.uint8], str]:
    """Read up to 100 calibration inputs, (N, H, W, 3) uint8 BGR, and describe them in a sentence.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
        ExportError: too few of them are different and of more than one colour.
    """
    frames = read_inputs(folder, trained, limit=CALIBRATION_FRAMES, part="train")
    useful = {frame.tobytes() for frame in frames if not (frame == frame[0, 0]).all()}
    if len(useful) < MIN_CALIBRATION_FRAMES:
        raise ExportError(
            f"{folder} holds {count_of(len(useful), 'different input')} of two colours or more; "
            f"int8 needs at least {MIN_CALIBRATION_FRAMES}, {CALIBRATION_FRAMES} for good ranges"
        )
    if len(useful) < CALIBRATION_FRAMES:
        text = "int8: %s for calibration; with fewer than %d, rare images may exceed the ranges"
        _log.warning(text, count_of(len(useful), "different input"), CALIBRATION_FRAMES)
    digest = hashlib.sha256(frames.tobytes()).hexdigest()
    return frames, f"ranges from {count_of(len(frames), 'input')}, sha256 {digest[:16]}"


def top_up(frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """Add mirrored and shifted copies until there are eight frames, (N, H, W, 3) uint8 BGR.

    The number of copies is returned, too. Without a frame to copy, an ExportError is raised.
    """
    if len(frames) == 0:
        text = "the checkpoint holds no frames for the parity check; name a folder of inputs with"
        raise ExportError(f"{text} --frames DIR")
    copies: list[NDArray[np.uint8]] = []
    half = frames.shape[2] // 2
    for shift, rows, columns in list(product((0, half), (1, -1), (1, -1)))[1:]:
        copies.extend(np.roll(frames, shift, axis=2)[:, ::rows, ::columns])
    missing = max(0, MIN_FRAMES - len(frames))
    if missing:
        text = "%s for the parity check and %d mirrored ones; give more with --frames DIR"
        _log.warning(text, count_of(len(frames), "frame"), missing)
    return np.ascontiguousarray(np.stack([*frames, *copies[:missing]])), missing


def _is_data_set(folder: Path, data: DataConfig) -> bool:
    named = any((folder / name).is_dir() for name in ("train", data.input_dir) if name)
    return named or (folder.is_dir() and find_folders(folder, None, None) is not None)


def _loose_images(
    files: list[Path], data: DataConfig, contract: PixelContract
) -> tuple[list[ImageRef], str]:
    """Tell inputs, pairs and class ids apart by a few of the images."""
    samples = (files[index] for index in evenly_spread(len(files), SAMPLES))
    images = [read_image(ImageRef(path=file)) for file in samples]
    if _are_pairs(images, contract.palette, data):
        side = data.input_side
        return [ImageRef(path=file, part=side) for file in files], f"pairs, input: {side} half"
    classes = len(contract.palette.classes) if contract.palette else 0
    highest = 255 if contract.ids else classes - 1
    are_ids = all(image.max() <= highest and (image == image[..., :1]).all() for image in images)
    ids = (contract.ids or own_ids(contract.palette)) if are_ids and contract.palette else None
    return [ImageRef(path=file, ids=ids) for file in files], "class ids" if ids else "inputs"


def _are_pairs(images: list[NDArray[np.uint8]], palette: Palette | None, data: DataConfig) -> bool:
    """Return whether images are side-by-side pairs.

    With a palette, the input half of a pair is a label map and the other half is not. Without one,
    a pair is exactly twice as wide as the shape of training.
    """
    if palette is None:
        width, height = data.image_size
        return all(image.shape[1] * height == 2 * image.shape[0] * width for image in images)
    halves = [np.array_split(image, [image.shape[1] // 2], axis=1) for image in images]
    coverage = np.mean([[palette.coverage(half) for half in pair] for pair in halves], axis=0)
    left, right = coverage  # of the two halves, each averaged over the images
    return bool((left - right if data.input_side == "left" else right - left) > PAIR_MARGIN)
