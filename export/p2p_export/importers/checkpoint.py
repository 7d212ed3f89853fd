"""Load a generator that was trained with pytorch-CycleGAN-and-pix2pix.

The file is read as tensors only; nothing in it is executed. Generators published in 2018 are in
torch's older format, which is read, too. A file that does not fit its description is refused.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_export.inputs import MIN_FRAMES, TrainedGenerator, check_size, origin_of
from p2p_runtime.errors import CheckpointError
from p2p_runtime.labels.palette import load_palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig, InputSide
from p2p_train.networks.geometry import Norm
from p2p_train.scenes import draw_scene
from p2p_train.tensorfile import load_tensors, shape_differences

from .networks import RectifiedUNet, ResNetGenerator
from .options import BLOCKS, DOWNSAMPLINGS, ImportOptions, NetG

__all__ = ["build", "load_imported", "read_state"]

OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of torch before 1.6: a pickle of torch's magic number."""

FIRST_RESIDUAL = 10
"""Index of the first residual block, after one padding and three times (conv, norm, ReLU)."""

State = dict[str, torch.Tensor]

_CONVS = (nn.Conv2d, nn.ConvTranspose2d)

_log = logging.getLogger(__name__)


def load_imported(
    options: ImportOptions, size: tuple[int, int] | None = None, *, draw_frames: bool
) -> TrainedGenerator:
    """Load a generator of that repository.

    Args:
        options: the file and its description.
        size: (width, height) of the model in pixels; None for that of the network.
        draw_frames: draw street scenes as inputs of the parity check, if inputs are label maps.

    Raises:
        CheckpointError: the file is unsafe, broken, or of another network.
        ConfigError: the palette is unknown, or the network cannot translate frames of ``size``.
    """
    width, height = size = size or (options.side_px, options.side_px)
    check_size(size, options.step_px, options.net)
    contract = PixelContract(
        height=height,
        width=width,
        palette=None if options.palette == "none" else load_palette(options.palette),
        direction=options.direction.replace("to", " to "),
    )
    statistics = "each frame's own" if options.uses_frame_statistics else "running"
    mode = f"{statistics} statistics, no dropout"
    side: InputSide = "left" if options.direction == "AtoB" else "right"
    return TrainedGenerator(
        module=build(options, read_state(options.path)),
        contract=contract,
        data=DataConfig(input_side=side, palette=options.palette, image_size=size),
        frames=_drawn_frames(contract, MIN_FRAMES if draw_frames and contract.palette else 0),
        description={"architecture": options.net, "norm": options.norm, "mode": mode},
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


def build(options: ImportOptions, state: State) -> nn.Module:
    """Build a generator in ``eval`` mode that computes what ``state`` does in that repository.

    Args:
        options: what the state is said to be, and which statistics normalise.
        state: tensors by that repository's keys.

    Raises:
        CheckpointError: names or shapes differ; the message lists the first differences and, if
            there is one, the description that fits.
    """
    if differences := _differences(options, state):
        described = f"{options.net} with {options.norm} norm"
        hint = _hint(options, state)
        raise CheckpointError(f"the checkpoint is no {described}: {differences}{hint}")
    generator = _make(options, state)
    keys = _keys(generator, options, state)
    generator.load_state_dict({ours: state[key] for ours, key in keys.items()}, strict=False)
    if isinstance(generator, RectifiedUNet):
        for block in (*generator.decoder[1:], generator.output):
            # (inputs, outputs, 4, 4): their inputs begin with the skip, ours end with it.
            block[0].weight.data = block[0].weight.data.roll(block[0].in_channels // 2, dims=0)
    if options.uses_frame_statistics:
        _use_frame_statistics(generator)
    return generator.eval()


def _drawn_frames(contract: PixelContract, count: int) -> NDArray[np.uint8]:
    """Return label maps of drawn street scenes, (count, H, W, 3) uint8 BGR."""
    if count:
        _log.warning("parity is measured on drawn street scenes; give real inputs: --frames DIR")
    size = (contract.height, contract.width)
    scenes = [contract.preprocess(draw_scene(seed, *size)[0]) for seed in range(count)]
    return np.array(scenes, np.uint8).reshape(count, *size, 3)


def _make(options: ImportOptions, state: State) -> nn.Module:
    """Return our generator with that repository's width and biases; its weights are not set yet."""
    first = state.get("model.model.0.weight" if options.is_unet else "model.1.weight")
    ngf = 64 if first is None else max(1, len(first))  # (ngf, 3, kh, kw)
    generator: nn.Module
    if options.is_unet:
        generator = RectifiedUNet(ngf=ngf, downsamplings=DOWNSAMPLINGS[options.net], dropout=0.0)
    else:
        generator = ResNetGenerator(ngf=ngf, blocks=BLOCKS[options.net])
    *inner, _ = (layer for layer in generator.modules() if isinstance(layer, _CONVS))
    for conv in inner:  # the output layer has a bias with either norm
        has_bias = options.norm == "instance"
        conv.bias = nn.Parameter(conv.weight.new_zeros(conv.out_channels)) if has_bias else None
    for layer in generator.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()  # gain 1, offset 0: what InstanceNorm has there
    return generator


def _keys(generator: nn.Module, options: ImportOptions, state: State) -> dict[str, str]:
    """Return the key in the file of each of our weights, biases and running statistics."""
    keys: dict[str, str] = {}
    places = _conv_places(options, state)
    prefix, index = "", 0
    for name, layer in generator.named_modules():
        if isinstance(layer, _CONVS):
            prefix, index = next(places)
        elif isinstance(layer, nn.BatchNorm2d) and options.norm == "batch":
            index += 1  # a norm follows its convolution
        else:
            continue  # InstanceNorm has neither gain nor offset there; ours stay one and zero
        keys.update({f"{name}.{key}": f"{prefix}.{index}.{key}" for key in layer.state_dict()})
    return {ours: key for ours, key in keys.items() if not key.endswith("num_batches_tracked")}


def _conv_places(options: ImportOptions, state: State) -> Iterator[tuple[str, int]]:
    """Yield each convolution's prefix and index in the file, from the first to the last."""
    if options.is_unet:
        # Each block lies in the one before. All but the outermost begin with a LeakyReLU.
        depth = DOWNSAMPLINGS[options.net]
        inner = [f"model.model.1{'.model.3' * level}.model" for level in range(depth - 1)]
        yield "model.model", 0
        yield from ((block, 1) for block in inner)
        yield inner[-1], 3
        yield from ((block, 5) for block in inner[-2::-1])
        yield "model.model", 3
        return
    yield from (("model", index) for index in (1, 4, 7))
    # With dropout, the second half of a residual block begins one index later.
    second = 5 if f"model.{FIRST_RESIDUAL}.conv_block.5.weight" in state else 6
    after = FIRST_RESIDUAL + BLOCKS[options.net]
    for block in range(FIRST_RESIDUAL, after):
        yield from ((f"model.{block}.conv_block", index) for index in (1, second))
    yield from (("model", after + index) for index in (0, 3, 7))


def _differences(options: ImportOptions, state: State) -> str:
    with torch.device("meta"):  # shapes only
        generator = _make(options, state)
    own, keys = generator.state_dict(), _keys(generator, options, state)
    # Without effect: counters, and statistics that InstanceNorm kept in 2018.
    instance = ("running_mean", "running_var") if options.norm == "instance" else ()
    unused = ("num_batches_tracked", *instance)
    used = {key: value for key, value in state.items() if not key.endswith(unused)}
    return shape_differences({key: own[ours] for ours, key in keys.items()}, used)


def _hint(options: ImportOptions, state: State) -> str:
    for net, norm in product(get_args(NetG), get_args(Norm)):
        candidate = ImportOptions(path=options.path, palette="none", net=net, norm=norm)
        if not _differences(candidate, state):
            return f". It fits --netG {net} --norm {norm}"
    return ""


def _use_frame_statistics(generator: nn.Module) -> None:
    """Replace BatchNorm by InstanceNorm, its equal in training mode with a batch of one."""
    for name, layer in list(generator.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            norm = nn.InstanceNorm2d(layer.num_features, eps=layer.eps, affine=True)
            norm.weight, norm.bias = layer.weight, layer.bias
            generator.set_submodule(name, norm)
