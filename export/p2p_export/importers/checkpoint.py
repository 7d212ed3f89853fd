"""Load a generator that was trained with pytorch-CycleGAN-and-pix2pix.

The file is read as tensors only; nothing in it is executed. Generators published in 2018 are in
torch's older format, which is read in the same way.
"""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2p_export.frames import MIN_FRAMES
from p2p_export.trained import TrainedGenerator, origin_of
from p2p_runtime.errors import CheckpointError
from p2p_runtime.labels.palette import load_palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig
from p2p_train.scenes import draw_scene
from p2p_train.tensorfile import load_tensors

from .options import ImportOptions
from .weights import State, build

__all__ = ["load_imported", "read_state"]

OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of torch before 1.6: a pickle of torch's magic number."""

_log = logging.getLogger(__name__)


def load_imported(options: ImportOptions, *, draw_frames: bool) -> TrainedGenerator:
    """Load a generator of that repository.

    Args:
        options: the file and its description.
        draw_frames: draw street scenes as inputs of the parity check, if inputs are label maps.

    Raises:
        CheckpointError: the file is unsafe, broken, or of another network.
        ConfigError: the palette is unknown.
    """
    width, height = options.size
    contract = PixelContract(
        height=height,
        width=width,
        palette=None if options.palette == "none" else load_palette(options.palette),
        direction=options.direction.replace("to", " to "),
    )
    return TrainedGenerator(
        module=build(options, read_state(options.path)),
        contract=contract,
        data=DataConfig(
            input_side="left" if options.direction == "AtoB" else "right", palette=options.palette
        ),
        frames=_drawn_frames(contract, MIN_FRAMES if draw_frames and contract.palette else 0),
        description={"architecture": options.net, "norm": options.norm, "mode": options.mode},
        provenance={**origin_of(options.path), "origin": "pytorch-CycleGAN-and-pix2pix"},
    )


def read_state(path: Path) -> State:
    """Read a state dict onto the CPU, without the ``module.`` prefixes of DataParallel.

    Raises:
        CheckpointError: it is missing, broken, unsafe, or not a state dict.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist or is not a file")
    with path.open("rb") as file:
        old = file.read(len(OLD_FORMAT)) == OLD_FORMAT
    if not old and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a complete torch file; nothing in it was executed")
    content = load_tensors(path, "checkpoint")
    if not isinstance(content, dict) or not content or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):  # fmt: skip
        raise CheckpointError(
            f"{path} is not a generator's state dict, as in latest_net_G.pth: "
            "a dict of nothing but tensors"
        )
    return {key.removeprefix("module."): value.float() for key, value in content.items()}


def _drawn_frames(contract: PixelContract, count: int) -> NDArray[np.uint8]:
    """Return label maps of drawn street scenes, (count, H, W, 3) uint8 BGR."""
    if count:
        _log.warning("parity is measured on drawn street scenes; give real inputs: --frames DIR")
    size = (contract.height, contract.width)
    scenes = [contract.preprocess(draw_scene(seed, *size)[0]) for seed in range(count)]
    return np.array(scenes, np.uint8).reshape(count, *size, 3)
