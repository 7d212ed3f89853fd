"""The flags of ``p2p-export`` for checkpoints of pytorch-CycleGAN-and-pix2pix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import click

from p2p_runtime.errors import ConfigError
from p2p_train.networks.geometry import Norm
from p2p_train.options import ImageSize

__all__ = ["Direction", "NetG", "Statistics", "importer_options", "take_importer_options"]

NetG = Literal["unet_128", "unet_256", "resnet_6blocks", "resnet_9blocks"]
Statistics = Literal["frame", "running"]
Direction = Literal["AtoB", "BtoA"]

SOURCE_FLAG = "--from-pytorch-cyclegan-and-pix2pix"
_FLAGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        SOURCE_FLAG,
        "foreign",
        {
            "metavar": "FILE.pth",
            "type": click.Path(path_type=Path),
            "help": "Export a generator that was trained there, latest_net_G.pth.",
        },
    ),
    (
        "--netG",
        "net",
        {"type": click.Choice(get_args(NetG)), "help": "As it was trained.  [default: unet_256]"},
    ),
    (
        "--norm",
        "norm",
        {"type": click.Choice(get_args(Norm)), "help": "As it was trained.  [default: batch]"},
    ),
    (
        "--ngf",
        "ngf",
        {"metavar": "N", "type": click.IntRange(1, 1024), "help": "[default: read from the file]"},
    ),
    (
        "--statistics",
        "statistics",
        {
            "type": click.Choice(get_args(Statistics)),
            "help": "What BatchNorm normalises by: frame: each frame's own mean and variance, as "
            "its test.py does; running: those of training, as test.py --eval does.  "
            "[default: frame]",
        },
    ),
    (
        "--input-size",
        "input_size",
        {"type": ImageSize(), "help": "Size of the exported model.  [default: 256, or 128]"},
    ),
    (
        "--palette",
        "palette",
        {
            "metavar": "NAME|FILE.json|none",
            "help": "Label colours: cityscapes, camvid, a file; none for inputs that are pictures.",
        },
    ),
    (
        "--direction",
        "direction",
        {
            "type": click.Choice(get_args(Direction)),
            "help": "As it was trained; A is the left half of a pair.  [default: AtoB]",
        },
    ),
)


def importer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags that :func:`take_importer_options` takes out again."""
    for flag, name, settings in reversed(_FLAGS):
        command = click.option(flag, name, default=None, **settings)(command)
    return command


def take_importer_options(flags: dict[str, Any]) -> dict[str, Any] | None:
    """Remove the flags from ``flags`` and return those that were given; None if none was.

    Raises:
        ConfigError: they contradict each other or the rest.
    """
    taken = {name: flags.pop(name) for _, name, _ in _FLAGS}
    given = {name: value for name, value in taken.items() if value is not None}
    if not given:
        return None
    if "foreign" not in given:
        flag = next(flag for flag, name, _ in _FLAGS if name in given)
        raise ConfigError(f"{flag} describes a checkpoint of {SOURCE_FLAG}; give that, too")
    if flags.get("source") is not None:
        raise ConfigError(f"give a run or {SOURCE_FLAG}, not both")
    if "palette" not in given:
        raise ConfigError(
            "say with --palette what the inputs are: cityscapes, camvid, a file of label colours, "
            "or none for pictures"
        )
    return given
