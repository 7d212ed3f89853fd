"""The flags of ``p2p-train``: one for each setting, with its default and help from one place."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Container
from typing import Any, Literal

import click

from .config import TrainConfig

__all__ = ["DATA_SETTINGS", "ImageSize", "MicroBatch", "data_flags", "setting_flags"]

HELP: dict[str, tuple[str, str]] = {
    "data": ("DIR", "Folder with the pairs."),
    "input_side": ("", "Which half of a side-by-side image is the generator's input."),
    "input_dir": ("NAME", "Folder of the inputs within --data, if not a common name."),
    "target_dir": ("NAME", "Folder of the targets within --data."),
    "allow_missing": ("", "Leave out images without a partner."),
    "palette": (
        "NAME|FILE.json|auto|none",
        "Label colours: cityscapes, camvid, a file; none for inputs that are pictures.",
    ),
    "labels": ("", "Whether inputs hold palette colours or class ids."),
    "epochs": ("N", "Passes over the pairs."),
    "max_steps": ("N", "Stop after N steps in all."),
    "batch_size": ("N", "Pairs a step."),
    "lr": ("RATE", "Adam's step size."),
    "lr_discriminator": ("RATE", "The discriminator's step size.  [default: that of --lr]"),
    "lr_decay": ("", "Lower the rates to zero over the second half."),
    "beta1": ("X", "Adam's decay rate of the mean."),
    "beta2": ("X", "Adam's decay rate of the square."),
    "gan_loss": ("", "The adversarial loss."),
    "lambda_gan": ("X", "Weight of the adversarial loss; under 1 for calmer pictures."),
    "lambda_l1": ("X", "Weight of the L1 loss against the adversarial loss."),
    "consistency": ("X", "Weight of steadiness when label maps move, against marks; try 50."),
    "teacher": ("RUN|FILE.pt", "Learn from this larger generator too: distillation."),
    "eyes": ("teacher|JUDGE.pt", "Whose features are compared: its discriminator's or a judge's."),
    "reader": ("JUDGE.pt", "A judge that checks whether the labels can be read off pictures."),
    "lambda_labels": ("X", "Weight of what it reads amiss; counts with --reader."),
    "lambda_style": ("X", "Weight of how far textures are from the photo's, as it sees them."),
    "style_from": ("SHARE", "Only after this share of the run do textures count."),
    "distil_l1": ("X", "Weight of the L1 distance to the teacher's image."),
    "distil_ssim": ("X", "Weight of its structural similarity."),
    "distil_feature": ("X", "Weight of its features, place by place."),
    "distil_style": ("X", "Weight of how its features go together, wherever they are."),
    "distil_channel": ("X", "Weight of the means of the teacher's own layers."),
    "distil_tv": ("X", "Weight of total variation, against noise."),
    "ngf": ("N", "Width of the generator; 16 or 32 for small devices."),
    "ndf": ("N", "Width of the discriminator."),
    "downs": ("N", "Halvings of the image, 4 to 8; fewer save weights.  [default: to 1 px]"),
    "max_width": ("N", "Most channels of a generator's layer.  [default: 8 times --ngf]"),
    "norm": ("", "Batch norm costs nothing on the device; instance norm does."),
    "norm_min_px": ("N", "Layers with a smaller output have no norm; 2: the paper."),
    "freeze_norm": ("SHARE", "After this share of the run, train with running statistics; 1: off."),
    "spectral_norm": ("", "On the discriminator, in place of its norm."),
    "ema": ("DECAY", "Ship a moving average of the generator, for example 0.999; 0: off."),
    "estimate_norm": ("N", "With --ema: BatchNorm statistics anew from N pairs; 0: off."),
    "even_ups": ("", "No checkerboards: plain inputs stay plain when the image is doubled."),
    "dropout": ("P", "In the generator's first three ups; training only."),
    "jitter_px": ("N", "Random crop out of an image enlarged by N px; 0: off."),
    "flip": ("", "Mirror half of the pairs."),
    "precision": ("", "auto: bf16 where the device has it, about twice as fast; else fp32."),
    "seed": ("N", "Decides weights, split, order and augmentation."),
    "samples": ("N", "Validation pairs in the sample grid."),
}
"""Metavar and help of each setting that has a flag of its own, in the order of ``--help``."""


READING = ("input_side", "input_dir", "target_dir", "allow_missing", "palette", "labels")
DATA_SETTINGS = ("data", *READING, "seed")
"""The settings that say which pairs there are and how to read them."""


def setting_flags(
    command: Callable[..., Any], names: Container[str] = tuple(HELP)
) -> Callable[..., Any]:
    """Give a command one flag for each setting of ``names``, typed as in :class:`TrainConfig`."""
    kinds = typing.get_type_hints(TrainConfig)
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    for name, (metavar, text) in reversed(HELP.items()):
        if name not in names:
            continue
        flag, default, kind = f"--{name.replace('_', '-')}", defaults[name], kinds[name]
        shown: dict[str, Any] = {"default": default, "help": text}
        if default is not None:
            shown["show_default"] = True
        if kind is bool:
            option = click.option(f"{flag}/--no-{flag[2:]}", **shown)
        elif typing.get_origin(kind) is Literal:
            choices = (*(["auto"] if name == "precision" else []), *typing.get_args(kind))
            option = click.option(flag, type=click.Choice(choices), **shown)
        else:
            option = click.option(flag, metavar=metavar, type=_plain(kind), **shown)
        command = option(command)
    return command


def data_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of :data:`DATA_SETTINGS`."""
    return setting_flags(command, DATA_SETTINGS)


class ImageSize(click.ParamType[tuple[int, int]]):
    """``256`` or ``256x512`` (height x width), as a tuple."""

    name = "H[xW]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return (height, width) in pixels."""
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
            self.fail(f"{value!r} is not a size like 256 or 256x512 (height x width)", param, ctx)
        return int(sides[0]), int(sides[-1])


class MicroBatch(click.ParamType["int | str"]):
    """A number, or ``auto``."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an int, or ``auto``."""
        if value == "auto" or isinstance(value, int):
            return value
        if not str(value).isdecimal():
            self.fail(f"{value!r} is neither a number of pairs nor auto", param, ctx)
        return int(value)


def _plain(kind: Any) -> type:
    """Return int for ``int | None``, and so on."""
    plain: type = next(
        (option for option in typing.get_args(kind) if option is not type(None)), kind
    )
    return plain
