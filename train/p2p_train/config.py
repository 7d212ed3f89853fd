"""Every setting of a training run, in one frozen value that lies inside its checkpoints."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from p2p_runtime.errors import ConfigError

from .networks.geometry import MAX_DOWNSAMPLINGS, Norm, downsamplings_for

__all__ = ["RECIPES", "GanLoss", "InputSide", "Labels", "Precision", "TrainConfig"]

InputSide = Literal["left", "right"]
Labels = Literal["auto", "colour", "ids"]
Precision = Literal["fp32", "bf16", "fp16"]
GanLoss = Literal["bce", "lsgan", "hinge", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What to train on and how. The defaults are pix2pix as it was published.

    Adam's rates, the L1 weight and the image size follow Isola et al. 2017 (arXiv 1611.07004),
    section 3.3 and 6.2; batch 128 and 50 epochs are the seed of this project.

    Attributes:
        data: folder with the pairs, ``train/`` and optionally ``val/`` inside.
        input_side: which half of a side-by-side image is the generator's input.
        input_dir, target_dir: names of two folders that are matched by file name; None to
            recognise common names.
        allow_missing: leave images without a partner out instead of refusing them.
        palette: ``auto``, ``none``, a preset's name, or a JSON file.
        labels: whether inputs hold palette colours or class ``ids``; ``auto`` finds out.
        height, width: image size in pixels.
        epochs: passes over the training pairs.
        max_steps: stop after so many steps in all; None for no limit.
        batch_size: pairs a step.
        micro_batch: pairs at a time within a step, to save memory; None for the whole batch.
        lr: Adam's step size for the generator.
        lr_discriminator: the discriminator's; None for the same (two time-scales: Heusel et al.
            2017, arXiv 1706.08500).
        lr_decay: lower both rates linearly to zero over the second half of the run (as the
            authors' own implementation does).
        beta1, beta2: Adam's decay rates.
        gan_loss: ``bce``; ``lsgan`` (Mao et al. 2017, arXiv 1611.04076); ``hinge`` (Lim and Ye
            2017, arXiv 1705.02894); ``none`` trains without a discriminator.
        lambda_gan: weight of the adversarial loss; the discriminator learns as ever.
        lambda_l1: weight of the L1 loss against the adversarial loss.
        consistency: weight of the loss that asks for the same picture, moved, when the input moves
            by up to 16 px; it takes marks at fixed places away. Asked of a quarter of each
            micro-batch. 0 switches it off.
        teacher: run or checkpoint of a larger generator to learn from; None to learn alone. See
            :mod:`p2p_train.distillation`.
        eyes: whose features ``distil_feature`` and ``distil_style`` compare: ``teacher`` for the
            discriminator of the teacher's run, else the file of a judge.
        reader: file of a judge that reads the labels off generated pictures, as it does off real
            photos; None for no such loss. See :mod:`p2p_train.segmentation.semantic`.
        lambda_labels: weight of what it reads amiss.
        lambda_style: weight of how far the style (textures, wherever they are) of what it sees is
            from the real photo's.
        style_from: share of the run after which that counts; before, the generator learns what is
            where.
        distil_l1, distil_ssim, distil_feature, distil_style, distil_channel, distil_tv: weights of
            what the generator learns from its teacher, beside the other losses.
        ngf, ndf: width of the generator's and the discriminator's first layer.
        downs: how often the generator halves the image; None until it is 1 px, 8 times at most.
        max_width: most channels of a generator's layer; None for 8 * ``ngf``.
        norm: ``batch`` or ``instance``.
        norm_min_px: layers whose output is smaller have no norm; 2 is the paper's network.
        freeze_norm: share of the run after which BatchNorm uses its running statistics in
            training too, as it will on the device; 1 for never.
        spectral_norm: on the discriminator, instead of its norm (Miyato et al. 2018, arXiv
            1802.05957).
        ema: decay of the exponential moving average of the generator's weights, which is then
            what ships (Yazici et al. 2019, arXiv 1806.04498); 0 switches it off.
        estimate_norm: before each validation and export, take the averaged generator's BatchNorm
            statistics anew from so many training pairs (Wu and Johnson 2021, arXiv 2105.07576); 0
            takes over those that training gathered for other weights.
        even_ups: keep the generator's transposed convolutions free of checkerboards, see
            :meth:`.UNetGenerator.make_checkerboard_free`.
        dropout: probability in the generator's first three ups, training only.
        jitter_px: random crop out of an image enlarged by so much; 0 switches it off.
        flip: mirror half of the pairs.
        precision: ``fp32``, or autocast to ``bf16`` or ``fp16`` (with loss scaling).
        seed: decides the initial weights, the split, the order and the augmentation.
        samples: validation pairs in the sample grid, and frames for the exporter's parity check.
    """

    data: str = "data"
    input_side: InputSide = "right"
    input_dir: str | None = None
    target_dir: str | None = None
    allow_missing: bool = False
    palette: str = "auto"
    labels: Labels = "auto"
    height: int = 256
    width: int = 256
    epochs: int = 50
    max_steps: int | None = None
    batch_size: int = 128
    micro_batch: int | None = None
    lr: float = 2e-4
    lr_discriminator: float | None = None
    lr_decay: bool = False
    beta1: float = 0.5
    beta2: float = 0.999
    gan_loss: GanLoss = "bce"
    lambda_gan: float = 1.0
    lambda_l1: float = 100.0
    consistency: float = 0.0
    teacher: str | None = None
    eyes: str = "teacher"
    reader: str | None = None
    lambda_labels: float = 10.0
    lambda_style: float = 0.0
    style_from: float = 0.75
    distil_l1: float = 20.0
    distil_ssim: float = 10.0
    distil_feature: float = 20.0
    distil_style: float = 20.0
    distil_channel: float = 2.0
    distil_tv: float = 0.0
    ngf: int = 64
    ndf: int = 64
    downs: int | None = None
    max_width: int | None = None
    norm: Norm = "batch"
    norm_min_px: int = 2
    freeze_norm: float = 1.0
    spectral_norm: bool = False
    ema: float = 0.0
    estimate_norm: int = 0
    even_ups: bool = False
    dropout: float = 0.5
    jitter_px: int = 30
    flip: bool = True
    precision: Precision = "fp32"
    seed: int = 0
    samples: int = 8

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(
                    f"{_flag(name)} is {value!r}; it must be from {least:g} to {most:g}"
                )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{_flag(name)} is {getattr(self, name)!r}; choose {', '.join(choices)}"
                )
        if self.estimate_norm and not (self.ema and self.norm == "batch"):
            raise ConfigError(
                "estimate-norm is for the averaged weights of a generator with BatchNorm: "
                "give --ema 0.999 and --norm batch with it"
            )
        if self.lambda_style and self.reader is None:
            raise ConfigError("lambda-style weighs what a reader sees; give a --reader JUDGE.pt")
        if self.gan_loss == "none" and not self.lambda_l1 and self.teacher is None:
            raise ConfigError(
                "without adversary and L1 there is nothing to learn from; give a --teacher"
            )
        try:
            _ = self.downsamplings
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def downsamplings(self) -> int:
        """How often the generator halves the image."""
        return downsamplings_for(self.height, self.width, self.downs or MAX_DOWNSAMPLINGS)

    @property
    def distillation(self) -> dict[str, float]:
        """The losses against the teacher that count, by name, with their weights."""
        if self.teacher is None:
            return {}
        names = [field.name for field in dataclasses.fields(self)]
        weights = {name: getattr(self, name) for name in names if name.startswith("distil_")}
        return {name: weight for name, weight in weights.items() if weight}

    def generator_weights(self, done: float) -> dict[str, float]:
        """Return how much each of the generator's losses counts, by name.

        Args:
            done: share (0-1) of the run's steps that are taken.
        """
        own = {
            "generator_adversarial": self.lambda_gan,
            "generator_l1": self.lambda_l1,
            "generator_labels": self.lambda_labels,
            "generator_style": self.lambda_style if done >= self.style_from else 0.0,
            "generator_consistency": self.consistency,
        }
        return {**own, **self.distillation}

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The losses that a run logs, in the order in which checkpoints keep their sums."""
        game = ("generator_adversarial", "generator_l1", "discriminator_real", "discriminator_fake")
        losses = ("generator_l1",) if self.gan_loss == "none" else game
        read = () if self.reader is None else ("generator_labels",)
        seen = ("generator_style",) if self.lambda_style else ()
        steady = ("generator_consistency",) if self.consistency else ()
        return (*losses, *read, *seen, *steady, *self.distillation)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; :meth:`from_json` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TrainConfig:
        """Read what :meth:`to_json` wrote; settings that it lacks take their defaults.

        Raises:
            ConfigError: a key is unknown (the message names the nearest one) or has a wrong type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key, value in document.items():
            if key not in fields:
                near = get_close_matches(key, fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"unknown setting {key!r}{hint}")
            if not _fits(value, str(fields[key].type)):
                raise ConfigError(f"setting {key!r} is {value!r}, not {fields[key].type}")
        return cls(**document)


_TINY = 1e-12
_LESSONS = ("l1", "ssim", "feature", "style", "channel", "tv")
_BELOW_ONE = math.nextafter(1.0, 0.0)
_BOUNDS: dict[str, tuple[float, float]] = {
    "epochs": (1, 10**6),
    "max_steps": (1, 10**9),
    "batch_size": (1, 2**16),
    "micro_batch": (1, 2**16),
    "lr": (_TINY, 1),
    "lr_discriminator": (_TINY, 1),
    "beta1": (0, _BELOW_ONE),
    "beta2": (0, _BELOW_ONE),
    "lambda_gan": (_TINY, 10**6),
    "lambda_l1": (0, 10**6),
    "lambda_labels": (0, 10**6),
    "lambda_style": (0, 10**6),
    "style_from": (0, 1),
    "consistency": (0, 10**6),
    **{f"distil_{what}": (0, 10**6) for what in _LESSONS},
    "ngf": (1, 1024),
    "ndf": (1, 1024),
    "downs": (4, MAX_DOWNSAMPLINGS),
    "max_width": (1, 8192),
    "norm_min_px": (1, 256),
    "freeze_norm": (0, 1),
    "ema": (0, _BELOW_ONE),
    "estimate_norm": (0, 10**6),
    "dropout": (0, _BELOW_ONE),
    "jitter_px": (0, 256),
    "seed": (0, 2**32 - 1),
    "samples": (1, 1024),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "input_side": get_args(InputSide),
    "labels": get_args(Labels),
    "gan_loss": get_args(GanLoss),
    "norm": get_args(Norm),
    "precision": get_args(Precision),
}
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "bool": (bool,),
    "str | None": (str, type(None)),
}

_EDGE = {
    "precision": "auto",
    "freeze_norm": 0.89,
    "ema": 0.999,
    "downs": 5,
    "dropout": 0.0,
    "even_ups": True,
    "consistency": 50.0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "seed": {},
    "edge": _EDGE,
    "student": {**_EDGE, "gan_loss": "none", "lambda_l1": 0.0, "lr": 6e-4, "lr_decay": True},
}
"""Bundles of settings that take the place of the defaults; flags still win.

``edge``: on cityscapes_pairs at width 16, 2229 steps of batch 4, averaged weights and frozen norms
took mean IoU from 0.17 to 0.28 and the validation L1 from 0.288 to 0.253 (docs/training.md has the
share of each). At 256 px, five halvings without dropout took it from 0.330 to 0.346, with a third
of the weights. Even ups and consistency took what every picture has in common at the same places
from 9.3 to 3.7 levels (photos: 1.6), the Frechet distance from 1.54 to 1.16, and mean IoU from
0.348 to 0.324. Its precision is bf16 where the device has it, which halves a step.

``student``: a generator that learns from its teacher alone, as in arXiv 2108.06908. The average
took its flicker from 2.29 to 2.10 and changed nothing else. Its aim stands still, so its steps are
larger than those of a game and end small: it came within 0.7 points of mean IoU of a teacher of
twice the width, where steps of 2e-4 had left four points (docs/distillation.md).
"""


def _fits(value: Any, kind: str) -> bool:
    kinds = _KINDS.get(kind, (str,))
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _flag(name: str) -> str:
    return name.replace("_", "-")
