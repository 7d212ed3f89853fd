"""Options for checkpoints of pytorch-CycleGAN-and-pix2pix, which do not describe themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import click

from p2p_runtime.console import Size, option, stack
from p2p_runtime.errors import ConfigError
from p2p_train.networks.geometry import Norm

__all__ = [
    "BLOCKS", "DOWNSAMPLINGS", "SOURCE_FLAG", "ImportOptions", "NetG", "import_flags",
    "take_import_options",
]  # fmt: skip

NetG = Literal["unet_128", "unet_256", "resnet_6blocks", "resnet_9blocks"]
Statistics = Literal["frame", "running"]
Direction = Literal["AtoB", "BtoA"]

DOWNSAMPLINGS = {"unet_128": 7, "unet_256": 8}
"""Number of downsamplings of each U-Net."""

BLOCKS = {"resnet_6blocks": 6, "resnet_9blocks": 9}
"""Number of residual blocks of each ResNet."""

SOURCE_FLAG = "--from-pytorch-cyclegan-and-pix2pix"
MIN_SIDE_PX = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """A file of weights, and what it does not say of itself.

    Attributes:
        path: the file, ``latest_net_G.pth``.
        palette: label colours of the inputs, a preset or a file; ``none`` for pictures.
        net, norm, direction: that repository's ``--netG``, ``--norm`` and ``--direction``.
        statistics: what BatchNorm normalises by. ``frame``: each frame's own mean and variance, as
            that repository's ``test.py`` does. ``running``: the training's, as ``test.py --eval``
            does. InstanceNorm has only ``frame``.
        input_size: (width, height) in pixels; None for the size of ``net``.

    Raises:
        ConfigError: the size does not fit the network, or InstanceNorm is to use ``running``.
    """

    path: Path
    palette: str
    net: NetG = "unet_256"
    norm: Norm = "batch"
    statistics: Statistics = "frame"
    input_size: tuple[int, int] | None = None
    direction: Direction = "AtoB"

    def __post_init__(self) -> None:
        if self.norm == "instance" and self.statistics == "running":
            raise ConfigError("instance norm has no running statistics; leave --statistics out")
        width, height = self.size
        multiple = 2 ** DOWNSAMPLINGS[self.net] if self.is_unet else 4
        if min(height, width) < MIN_SIDE_PX or height % multiple or width % multiple:
            raise ConfigError(
                f"--input-size {width}x{height} does not fit {self.net}: both sides must be "
                f"multiples of {multiple}, {MIN_SIDE_PX} or more"
            )

    @property
    def is_unet(self) -> bool:
        """Whether the generator is a U-Net."""
        return self.net in DOWNSAMPLINGS

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the exported model in pixels."""
        default_px = 128 if self.net == "unet_128" else 256
        return self.input_size or (default_px, default_px)

    @property
    def uses_frame_statistics(self) -> bool:
        """Whether each frame is normalised by its own mean and variance."""
        return self.norm == "instance" or self.statistics == "frame"


_option = partial(option, group="Import", advanced=True)

import_flags = stack(
    option(
        SOURCE_FLAG, "path", group="Import", metavar="FILE.pth", type=click.Path(path_type=Path),
        help="Export a generator of that repository, latest_net_G.pth; see --help-all.",
    ),
    _option(
        "--palette", metavar="NAME|FILE.json|none",
        help="Label colours: cityscapes, camvid, a file; none for inputs that are pictures.",
    ),
    _option(
        "--netG", "net", type=click.Choice(get_args(NetG)),
        help="As in training.  [default: unet_256]",
    ),
    _option("--norm", type=click.Choice(get_args(Norm)), help="As in training.  [default: batch]"),
    _option(
        "--statistics", type=click.Choice(get_args(Statistics)),
        help="What BatchNorm normalises by. frame: each frame's own mean and variance, like its "
        "test.py; running: the training's, like test.py --eval.  [default: frame]",
    ),
    _option(
        "--input-size", metavar="WxH", type=Size(square=True),
        help="Size of the exported model.  [default: 256x256; unet_128: 128x128]",
    ),
    _option(
        "--direction", type=click.Choice(get_args(Direction)),
        help="As in training; A is the left half of a pair.  [default: AtoB]",
    ),
)  # fmt: skip
"""Decorator that adds a flag for each field of :class:`ImportOptions` to a command."""


def take_import_options(values: dict[str, Any]) -> ImportOptions | None:
    """Remove the import flags from a command's ``values``; None if none was given.

    Raises:
        ConfigError: a flag is missing, or they contradict each other.
    """
    taken = {field.name: values.pop(field.name) for field in fields(ImportOptions)}
    given = {name: value for name, value in taken.items() if value is not None}
    if not given:
        return None
    if "path" not in given:
        names = ", ".join(given).replace("_", " ")
        raise ConfigError(
            f"{names}: only a checkpoint of another project takes this; name it with {SOURCE_FLAG}"
        )
    if "palette" not in given:
        raise ConfigError(
            "describe the inputs with --palette: cityscapes, camvid, a file of label colours, "
            "or none for pictures"
        )
    return ImportOptions(**given)
