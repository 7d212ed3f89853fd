"""Options for checkpoints of pytorch-CycleGAN-and-pix2pix, which do not describe themselves."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import click

from p2p_runtime.console import option, stack
from p2p_runtime.errors import ConfigError

__all__ = [
    "BLOCKS", "DOWNSAMPLINGS", "SOURCE_FLAG", "ImportNorm", "ImportOptions", "NetG",
    "import_flags", "take_import_options",
]  # fmt: skip

NetG = Literal["unet_128", "unet_256", "unet_512", "resnet_6blocks", "resnet_9blocks"]
ImportNorm = Literal["batch", "instance", "none"]
Statistics = Literal["frame", "running"]
Direction = Literal["AtoB", "BtoA"]

DOWNSAMPLINGS = {"unet_128": 7, "unet_256": 8, "unet_512": 9}
"""Number of downsamplings of each U-Net."""

BLOCKS = {"resnet_6blocks": 6, "resnet_9blocks": 9}
"""Number of residual blocks of each ResNet."""

SOURCE_FLAG = "--from-pytorch-cyclegan-and-pix2pix"


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

    Raises:
        ConfigError: ``running`` statistics of another norm than BatchNorm.
    """

    path: Path
    palette: str
    net: NetG = "unet_256"
    norm: ImportNorm = "batch"
    statistics: Statistics = "frame"
    direction: Direction = "AtoB"

    def __post_init__(self) -> None:
        if self.norm != "batch" and self.statistics == "running":
            raise ConfigError(
                f"--norm {self.norm} has no running statistics; leave --statistics out"
            )

    @property
    def is_unet(self) -> bool:
        """Whether the generator is a U-Net."""
        return self.net in DOWNSAMPLINGS

    @property
    def side_px(self) -> int:
        """Width and height of the frames that the network is named after, else 256."""
        return 1 << DOWNSAMPLINGS.get(self.net, 8)

    @property
    def step_px(self) -> int:
        """What both sides of a frame are multiples of."""
        return 1 << DOWNSAMPLINGS.get(self.net, 2)

    @property
    def uses_frame_statistics(self) -> bool:
        """Whether each frame is normalised by its own mean and variance."""
        return self.norm == "instance" or (self.norm == "batch" and self.statistics == "frame")

    @property
    def mode(self) -> str:
        """Which function of the network is exported, in words."""
        statistics = "each frame's own" if self.uses_frame_statistics else "running"
        return f"{'no' if self.norm == 'none' else statistics} statistics, no dropout"


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
    _option(
        "--norm", type=click.Choice(get_args(ImportNorm)),
        help="As in training.  [default: batch]",
    ),
    _option(
        "--statistics", type=click.Choice(get_args(Statistics)),
        help="What BatchNorm normalises by. frame: each frame's own mean and variance, like its "
        "test.py; running: the training's, like test.py --eval.  [default: frame]",
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
