"""Load a generator that was trained with pytorch-CycleGAN-and-pix2pix.

The file is read as tensors only; nothing in it is executed. Generators published in 2018 are in
torch's older format, which is read, too. A file that does not fit its description is refused.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_export.inputs import MIN_FRAMES, TrainedGenerator, check_size, origin_of, require_memory
from p2p_runtime.errors import CheckpointError
from p2p_runtime.labels.palette import load_palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig, InputSide
from p2p_train.networks.geometry import Norm
from p2p_train.networks.pixels import LUMA_RGB
from p2p_train.scenes import draw_scene
from p2p_train.tensorfile import digest, load_tensors, shape_differences

from .networks import RectifiedUNet, ResNetGenerator
from .options import BLOCKS, DOWNSAMPLINGS, SOURCE_FLAG, ImportNorm, ImportOptions, NetG

__all__ = ["build", "load_imported", "read_state"]

OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of torch before 1.6: a pickle of torch's magic number."""

FIRST_RESIDUAL = 10
"""Index of the first residual block, after one padding and three times (conv, norm, ReLU)."""

FIRST_LAYERS = ("model.model.0.weight", "model.1.weight")
"""First weight of a U-Net and of a ResNet."""

MARKS = (FIRST_LAYERS[0], f"model.{FIRST_RESIDUAL}.conv_block.1.weight")
"""A weight that only a U-Net's outermost layers have, and one that only a ResNet has."""

WRAPPERS = {"module", "_orig_mod"}
"""Names that DataParallel and ``torch.compile`` put around those of a network."""

MAX_NGF = 1024
"""Maximum number of channels after the first layer, as in training."""

MAX_PLACES = 16
"""Maximum number of generators in a file that are looked at."""

State = dict[str, torch.Tensor]

_CONVS = (nn.Conv2d, nn.ConvTranspose2d)

_log = logging.getLogger(__name__)


def load_imported(
    options: ImportOptions, size: tuple[int, int] | None = None, *, draw_frames: bool
) -> TrainedGenerator:
    """Load a generator of that repository as a model of ``size``, (width, height) in pixels.

    ``draw_frames`` draws streets as inputs of the parity check, if inputs are label maps.

    Raises:
        CheckpointError: the file is unsafe, broken, or of another network.
        ConfigError: the palette is unknown, or the network cannot translate frames of ``size``.
    """
    width, height = size = size or (options.side_px, options.side_px)
    check_size(size, options.step_px, options.net)
    state = read_state(options.path, options)
    module = build(options, state)
    require_memory(module, width, height)
    contract = PixelContract(
        height=height,
        width=width,
        palette=None if options.palette == "none" else load_palette(options.palette),
        direction=options.direction.replace("to", " to "),
        grey=_channels(options, state)[1] == 1,
    )
    side: InputSide = "left" if options.direction == "AtoB" else "right"
    return TrainedGenerator(
        module=module,
        contract=contract,
        data=DataConfig(input_side=side, palette=options.palette, image_size=size),
        frames=_drawn_frames(contract, MIN_FRAMES if draw_frames and contract.palette else 0),
        description={"architecture": options.net, "norm": options.norm, "mode": options.mode},
        provenance={**origin_of(options.path), "origin": "pytorch-CycleGAN-and-pix2pix"},
    )


def read_state(path: Path, options: ImportOptions) -> State:
    """Read the weights of the generator in a file onto the CPU, by that repository's keys.

    They may lie in a dict of the file, or beside other networks under a prefix. If none fit
    ``options``, the largest set is returned, which :func:`build` refuses.

    Raises:
        CheckpointError: the file is missing, broken or unsafe, or holds no generator, or several.
    """
    content = _read(path)
    found = dict(islice(_places(content), MAX_PLACES))
    matching = {
        digest(state): place for place, state in found.items() if not _differences(options, state)
    }
    if len(matching) > 1:
        places = ", ".join(sorted(p.rstrip(".") or "the file itself" for p in matching.values()))
        raise CheckpointError(
            f"{path} holds {len(matching)} generators that fit ({places}); save the weights of the "
            "one that you mean in a file of their own"
        )
    if not found:
        tensors = (item for _, tensors in _dicts(content) for item in tensors.items())
        begins = next((f": it begins with {key:.40} {(*x.shape,)}" for key, x in tensors), "")
        raise CheckpointError(
            f"{path} is not a generator's state dict like latest_net_G.pth, and holds none{begins}"
        )
    chosen = next(iter(matching.values()), max(found, key=lambda place: len(found[place])))
    return {key: value.float() for key, value in found[chosen].items()}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist or is not a file")
    with path.open("rb") as file:
        old = file.read(len(OLD_FORMAT)) == OLD_FORMAT
    if not old and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a complete torch file; nothing in it was executed")
    content = load_tensors(path, "checkpoint")
    if isinstance(content, dict) and {"schema", "config", "contract"} <= content.keys():
        raise CheckpointError(
            f"{path} is a checkpoint of p2p-train: leave {SOURCE_FLAG} out; --size makes a model "
            "of another size"
        )
    return content


def _places(content: Any) -> Iterator[tuple[str, State]]:
    """Yield each place in a file that holds a generator, and the weights there."""
    for place, tensors in _dicts(content):
        for key, mark in product(tensors, MARKS):
            if f".{key}".endswith(f".{mark}"):
                prefix = key.removesuffix(mark)
                own = [name for name in tensors if name.startswith(f"{prefix}model.")]
                yield place + prefix, {name.removeprefix(prefix): tensors[name] for name in own}


def _dicts(content: Any) -> Iterator[tuple[str, State]]:
    """Yield each dict in a file's dicts and lists: where it lies, and its tensors."""
    waiting, seen = [("", content)], set()
    while waiting:
        place, value = waiting.pop()
        if id(value) in seen or not isinstance(value, dict | list | tuple):
            continue
        seen.add(id(value))
        items = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [(f"{place}{key}.", item) for key, item in items]
        if isinstance(value, dict):
            yield place, _tensors(value)


def _tensors(values: dict[Any, Any]) -> State:
    """Return the tensors of a dict, without what wrappers put into their names."""
    tensors = {
        key: value
        for key, value in values.items()
        if isinstance(key, str)
        and isinstance(value, torch.Tensor)
        and (value.device.type, value.layout, value.is_quantized) == ("cpu", torch.strided, False)
    }
    bare = {
        ".".join(part for part in key.split(".") if part not in WRAPPERS): key for key in tensors
    }
    if len(bare) < len(tensors):  # a network, and another one in a wrapper
        return tensors
    return {name: tensors[key] for name, key in bare.items()}


def build(options: ImportOptions, state: State) -> nn.Module:
    """Build a generator in ``eval`` mode that computes what ``state`` does in that repository.

    Raises:
        CheckpointError: names or shapes differ; the message lists the first differences and, if
            there is one, the description that fits.
    """
    state = _in_three_channels(options, state)
    if differences := _differences(options, state):
        if words := _unsupported(state):
            raise CheckpointError(words)
        described = f"{options.net} with norm {options.norm}"
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
    ngf = min(MAX_NGF, _size(state, FIRST_LAYERS[not options.is_unet], 0)) or 64
    norm: Norm | None = None if options.norm == "none" else "batch"
    generator: nn.Module
    if options.is_unet:
        levels = DOWNSAMPLINGS[options.net]
        generator = RectifiedUNet(ngf=ngf, downsamplings=levels, dropout=0.0, norm=norm)
    else:
        generator = ResNetGenerator(ngf=ngf, blocks=BLOCKS[options.net], norm=norm)
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


def _size(state: State, key: str, axis: int) -> int:
    """Return the length of one axis of a weight; 0 if there is no such weight."""
    shape = state[key].shape if key in state else ()
    return shape[axis] if axis < len(shape) else 0


def _ends(options: ImportOptions, state: State) -> tuple[str, str, int]:
    """Return the places of the first and of the last convolution, and the axis of its outputs."""
    first, *_, last = (f"{prefix}.{index}" for prefix, index in _conv_places(options, state))
    return first, last, 1 if options.is_unet else 0  # ConvTranspose2d: (inputs, outputs, kh, kw)


def _channels(options: ImportOptions, state: State) -> tuple[int, int]:
    """Return the numbers of input and output channels; 0 for what is not there."""
    first, last, axis = _ends(options, state)
    return _size(state, f"{first}.weight", 1), _size(state, f"{last}.weight", axis)


def _in_three_channels(options: ImportOptions, state: State) -> State:
    """Return weights that compute on colour frames what a grey input or output layer does."""
    first, last, axis = _ends(options, state)
    inputs, outputs = _channels(options, state)
    changed = {}
    if inputs == 1:  # (ngf, 1, kh, kw) -> (ngf, 3, kh, kw)
        shares = torch.tensor(LUMA_RGB).view(-1, 1, 1)
        changed[f"{first}.weight"] = state[f"{first}.weight"] * shares
    if outputs == 1 == _size(state, f"{last}.bias", 0):
        for name, at in ((f"{last}.weight", axis), (f"{last}.bias", 0)):
            changed[name] = state[name].repeat_interleave(3, dim=at)
    return state | changed


def _unsupported(state: State) -> str:
    """Say in words which depth or number of channels cannot be read; empty if all can be."""
    unet = FIRST_LAYERS[0] in state
    if not unet and FIRST_LAYERS[1] not in state:
        return ""
    if unet:
        count, last, axis = max(key.count(".model.") for key in state), "model.model.3.weight", 1
    else:
        count = len({key.split(".")[1] for key in state if ".conv_block." in key})
        last, axis = f"model.{FIRST_RESIDUAL + count + 7}.weight", 0
    inputs, outputs = _size(state, FIRST_LAYERS[not unet], 1), _size(state, last, axis)
    if count in (DOWNSAMPLINGS if unet else BLOCKS).values() and {inputs, outputs} <= {0, 1, 3}:
        return ""
    kind = f"U-Net of {count} downsamplings" if unet else f"ResNet of {count} blocks"
    return (
        f"the checkpoint is a {kind} with {inputs} input and {outputs} output channels; U-Nets of "
        "7, 8 and 9 downsamplings, ResNets of 6 and 9 blocks, and 1 or 3 channels are read"
    )


def _differences(options: ImportOptions, state: State) -> str:
    state = _in_three_channels(options, state)
    with torch.device("meta"):  # shapes only
        generator = _make(options, state)
    own, keys = generator.state_dict(), _keys(generator, options, state)
    # Without effect: counters, and statistics that InstanceNorm kept in 2018.
    instance = ("running_mean", "running_var") if options.norm == "instance" else ()
    unused = ("num_batches_tracked", *instance)
    used = {key: value for key, value in state.items() if not key.endswith(unused)}
    return shape_differences({key: own[ours] for ours, key in keys.items()}, used)


def _hint(options: ImportOptions, state: State) -> str:
    for net, norm in product(get_args(NetG), get_args(ImportNorm)):
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
