"""The flags of settings: one for each, made from its dataclass field."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import click
from click.core import ParameterSource

from p2p_runtime.console import Decorator, Size, option, stack

from .config import TrainConfig
from .settings import Setting

__all__ = [
    "DATA_SETTINGS", "SECTIONS", "device_option", "duration_s", "given_settings",
    "setting_options",
]  # fmt: skip

SECTIONS = ("Data", "Model", "Optimiser", "Losses", "Distillation", "Machine", "Run")
"""Sections of ``--help``, in their order."""

DATA_SETTINGS = (
    *("data", "input_side", "input_dir", "target_dir", "allow_missing", "palette", "labels"),
    "seed",
)
"""Settings that say which pairs there are and how to read them."""


def setting_options(
    config: type[TrainConfig] = TrainConfig, names: Container[str] | None = None
) -> Decorator:
    """Return the decorator that gives a command a flag for each setting, or for those of ``names``.

    Bounds are checked by the config, so that an error is the same from Python.
    """
    settings = [one for one in config.settings().values() if names is None or one.key in names]
    settings.sort(key=lambda one: SECTIONS.index(one.group) if one.group in SECTIONS else 0)
    return stack(*map(_option, settings))


def given_settings(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Take the settings out of a command's ``values`` and return those that the user typed."""
    settings = {name: values.pop(name) for name in TrainConfig.settings() if name in values}
    typed = ParameterSource.COMMANDLINE
    return {k: v for k, v in settings.items() if ctx.get_parameter_source(k) is typed}


device_option = option(
    "--device",
    group="Machine",
    metavar="auto|cpu|cuda[:N]",
    default="auto",
    help="auto: a GPU if there is one, else the CPU.",
)
"""Gives a command ``--device``."""


def duration_s(text: str) -> float:
    """Return the seconds of a duration such as ``40m``, ``1h30m`` or ``90s``."""
    found = re.fullmatch(r"(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if found is None or not (
        seconds := sum(int(n or 0) * u for n, u in zip(found.groups(), (3600, 60, 1), strict=True))
    ):
        raise click.BadParameter(f"{text!r} is no duration; write 40m, 1h30m or 90s")
    return float(seconds)


def _option(one: Setting) -> Decorator:
    flag, kind, default = f"--{one.key.replace('_', '-')}", one.kind, one.default
    if kind is bool:
        flag = f"{flag}/--no-{flag[2:]}"
    elif one.choices:
        kind = click.Choice(one.choices)
    elif isinstance(default, tuple):
        kind, default = Size(square=True), "x".join(map(str, default))
    elif one.metavar == "N|auto":
        kind = _number_or_auto
    shown: dict[str, Any] = {"group": one.group, "advanced": one.advanced, "help": one.help}
    return option(flag, type=kind, metavar=one.metavar or None, default=default, **shown)


def _number_or_auto(value: str) -> int | str:
    if value != "auto" and not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number of pairs nor auto")
    return value if value == "auto" else int(value)
