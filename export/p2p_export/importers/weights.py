"""Reading ``latest_net_G.pth``: which key belongs to which layer, and what must fit.

The file is read as tensors only; nothing in it is executed. The generators that were published in
2018 are in torch's older format, which is read in the same way.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from p2p_runtime.errors import CheckpointError
from p2p_train.networks.geometry import Norm

from .networks import RectifiedUNet, ResNetGenerator
from .options import NetG, Statistics

__all__ = ["ImportedNetwork", "State", "build", "read_state"]

State = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]

OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin: a pickle that holds torch's magic number."""

DAMAGE = (
    OSError, EOFError, ValueError, LookupError, RuntimeError, AttributeError, TypeError,
    AssertionError, struct.error, zipfile.BadZipFile,
)  # fmt: skip
"""What torch has been seen to raise on files with flipped bytes."""

DOWNSAMPLINGS = {"unet_128": 7, "unet_256": 8}
BLOCKS = {"resnet_6blocks": 6, "resnet_9blocks": 9}
RESNET_BLOCK_PLACE = 10
"""Index of the first residual block: three times (convolution, norm, ReLU) and a padding before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedNetwork:
    """Which generator a file holds, in that repository's words.

    Attributes:
        net: its ``--netG``.
        norm: its ``--norm``.
        ngf: its ``--ngf``; None to read it from the weights.
    """

    net: NetG
    norm: Norm
    ngf: int | None = None

    @property
    def multiple_px(self) -> int:
        """What both sides of an image must be multiples of."""
        return 2 ** DOWNSAMPLINGS[self.net] if self.net in DOWNSAMPLINGS else 4


NORM_VALUES = ("weight", "bias", "running_mean", "running_var")

Layer = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """A convolution, the norm after it, and where the file keeps them.

    Attributes:
        conv, norm: ours.
        key, norm_key: their prefixes in the file.
        joined: whether it reads a skip and what came from below, there in this order, here in the
            other.
        last: the last layer has a bias whatever the norm.
    """

    conv: Layer
    key: str
    norm: nn.BatchNorm2d | None = None
    norm_key: str = ""
    joined: bool = False
    last: bool = False


def read_state(path: Path) -> State:
    """Read a state dict onto the CPU, ``module.`` prefixes taken off.

    Raises:
        CheckpointError: it is missing, broken, unsafe, or not a state dict.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist or is not a file")
    with path.open("rb") as file:
        old = file.read(len(OLD_FORMAT)) == OLD_FORMAT
    if not old and not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a whole file of torch; nothing in it was executed")
    content = _load(path)
    if not isinstance(content, dict) or not content or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):  # fmt: skip
        raise CheckpointError(
            f"{path} is not a generator's state dict, as in latest_net_G.pth: "
            "a dict of nothing but tensors"
        )
    return {key.removeprefix("module."): value.float() for key, value in content.items()}


def build(network: ImportedNetwork, state: State, statistics: Statistics) -> nn.Module:
    """Build a generator in ``eval`` mode that computes what ``state`` does in that repository.

    Args:
        network: what the state is said to be.
        state: as from :func:`read_state`.
        statistics: ``frame`` normalises by each frame's own mean and variance, as its ``test.py``
            does; ``running`` by those of training, as ``test.py --eval`` does. With InstanceNorm
            there is only ``frame``.

    Raises:
        CheckpointError: names or shapes differ; the message lists the first differences and, if
            there is one, the description that fits.
    """
    differences = _differences(network, state)
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CheckpointError(
            f"the checkpoint is no {network.net} with {network.norm} norm: "
            f"{'; '.join(differences[:3])}{more}{_hint(network, state)}"
        )
    generator = _make(network, state)
    for place in list(_places(generator, state)):
        _fill(place, state)
    if network.norm == "instance" or statistics == "frame":
        _use_frame_statistics(generator)
    return generator.eval()


def _load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not safe: it holds more than tensors and primitives; "
            "nothing in it was executed"
        ) from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error


def _make(network: ImportedNetwork, state: State) -> nn.Module:
    ngf = _ngf(network, state)
    if network.net in BLOCKS:
        return ResNetGenerator(ngf=ngf, blocks=BLOCKS[network.net])
    return RectifiedUNet(ngf=ngf, downsamplings=DOWNSAMPLINGS[network.net], dropout=0.0)


def _ngf(network: ImportedNetwork, state: State) -> int:
    first = state.get("model.model.0.weight" if network.net in DOWNSAMPLINGS else "model.1.weight")
    if network.ngf is not None or first is None:
        return network.ngf or 64
    return max(1, len(first))


def _places(generator: nn.Module, state: State) -> Iterator[_Place]:
    if isinstance(generator, RectifiedUNet):
        return _unet_places(generator)
    assert isinstance(generator, ResNetGenerator)
    return _resnet_places(generator, state)


def _unet_places(generator: RectifiedUNet) -> Iterator[_Place]:
    """Yield the layers from outside to inside; each block lies in the one around it."""
    depth = len(generator.encoder)
    ups = [generator.output, *reversed(generator.decoder)]
    block = "model"
    for level, (down, up) in enumerate(zip(generator.encoder, ups, strict=True)):
        outermost, innermost = level == 0, level == depth - 1
        first = 0 if outermost else 1  # a LeakyReLU comes first, but not outermost
        second = 3 if outermost or innermost else 5
        yield _place(down.children(), f"{block}.model", first)
        yield _place(up.children(), f"{block}.model", second, joined=not innermost, last=outermost)
        block += ".model.1" if outermost else ".model.3"


def _resnet_places(generator: ResNetGenerator, state: State) -> Iterator[_Place]:
    yield _place(generator.first, "model", 1)
    for index, down in enumerate(generator.encoder):
        yield _place(down.children(), "model", 4 + 3 * index)
    # With dropout, the block's second half lies one further.
    second = 5 if f"model.{RESNET_BLOCK_PLACE}.conv_block.5.weight" in state else 6
    for index, block in enumerate(generator.blocks):
        prefix = f"model.{RESNET_BLOCK_PLACE + index}.conv_block"
        layers = [layer for layer in block.modules() if isinstance(layer, Layer | nn.BatchNorm2d)]
        yield _place(layers[:2], prefix, 1)
        yield _place(layers[2:], prefix, second)
    after = RESNET_BLOCK_PLACE + len(generator.blocks)
    for index, up in enumerate(generator.decoder):
        yield _place(up.children(), "model", after + 3 * index)
    yield _place(generator.output, "model", after + 3 * len(generator.decoder) + 1, last=True)


def _place(
    block: Iterable[nn.Module], prefix: str, index: int, *, joined: bool = False, last: bool = False
) -> _Place:
    """Find the convolution of ``block`` and its norm, which comes next in the file."""
    layers = list(block)
    (conv,) = (layer for layer in layers if isinstance(layer, Layer))
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    return _Place(
        conv=conv,
        key=f"{prefix}.{index}",
        norm=norms[0] if norms else None,
        norm_key=f"{prefix}.{index + 1}" if norms else "",
        joined=joined,
        last=last,
    )


def _differences(network: ImportedNetwork, state: State) -> list[str]:
    with torch.device("meta"):
        places = list(_places(_make(network, state), state))
    expected: Shapes = {}
    for place in places:
        expected.update(_shapes(place, network.norm))
    found = {
        key: tuple(value.shape) for key, value in state.items() if not _is_idle(key, network.norm)
    }
    differences = [f"{key} is missing" for key in expected if key not in found]
    differences += [f"{key} is unknown" for key in found if key not in expected]
    differences += [
        f"{key} has shape {found[key]}, not {shape}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    return differences


def _shapes(place: _Place, norm: Norm) -> Shapes:
    """Return what the file holds for a place; only before InstanceNorm do layers have a bias."""
    shapes: Shapes = {f"{place.key}.weight": tuple(place.conv.weight.shape)}
    if place.last or norm == "instance":
        shapes[f"{place.key}.bias"] = (place.conv.out_channels,)
    if place.norm is not None and norm == "batch":
        for name in NORM_VALUES:
            shapes[f"{place.norm_key}.{name}"] = (place.conv.out_channels,)
    return shapes


def _is_idle(key: str, norm: Norm) -> bool:
    """Say whether nothing reads a value: counters, and what some InstanceNorms kept in 2018."""
    name = key.rpartition(".")[2]
    return name == "num_batches_tracked" or (
        norm == "instance" and name in ("running_mean", "running_var")
    )


def _hint(network: ImportedNetwork, state: State) -> str:
    for net, norm in product(get_args(NetG), get_args(Norm)):
        if not _differences(replace(network, net=net, norm=norm, ngf=None), state):
            ngf = _ngf(ImportedNetwork(net=net, norm=norm), state)
            return f". It fits --netG {net} --norm {norm} --ngf {ngf}"
    return ""


def _fill(place: _Place, state: State) -> None:
    weight = state[f"{place.key}.weight"]
    if place.joined:
        weight = weight.roll(len(weight) // 2, dims=0)  # (inputs, outputs, 4, 4)
    place.conv.weight = nn.Parameter(weight)
    bias = state.get(f"{place.key}.bias")
    place.conv.bias = None if bias is None else nn.Parameter(bias)
    if place.norm is None:
        return
    if f"{place.norm_key}.weight" not in state:  # InstanceNorm without gain and offset
        nn.init.ones_(place.norm.weight)
        nn.init.zeros_(place.norm.bias)
        return
    for name in NORM_VALUES:
        getattr(place.norm, name).data = state[f"{place.norm_key}.{name}"]


def _use_frame_statistics(generator: nn.Module) -> None:
    """Replace BatchNorm by what it computes in training with one frame a batch: InstanceNorm."""
    for block in generator.modules():
        if isinstance(block, nn.Sequential):
            for index, layer in enumerate(block):
                if isinstance(layer, nn.BatchNorm2d):
                    norm = nn.InstanceNorm2d(layer.num_features, eps=layer.eps, affine=True)
                    norm.weight, norm.bias = layer.weight, layer.bias
                    block[index] = norm
