"""Every setting of a training run, in one frozen value that lies inside its checkpoints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from p2p_runtime.errors import ConfigError

from .networks import Norm, downsamplings_for

__all__ = ["InputSide", "Precision", "TrainConfig"]

InputSide = Literal["left", "right"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What to train on and how. The defaults are the recipe of DESIGN-time pix2pix.

    Adam's rates, the L1 weight and the image size follow Isola et al. 2017 (arXiv 1611.07004),
    section 3.3 and 6.2; batch 128 and 50 epochs are the seed of this project.

    Attributes:
        data: folder with the pairs, ``train/`` and optionally ``val/`` inside.
        input_side: which half of a side-by-side image is the generator's input.
        palette: ``auto``, ``none``, a preset's name, or a JSON file.
        height, width: image size in pixels.
        epochs: passes over the training pairs.
        max_steps: stop after so many steps in all; None for no limit.
        batch_size: pairs a step.
        lr: Adam's step size, the same for both networks.
        beta1, beta2: Adam's decay rates.
        lambda_l1: weight of the L1 loss against the adversarial loss.
        ngf, ndf: width of the generator's and the discriminator's first layer.
        norm: ``batch`` or ``instance``.
        dropout: probability in the generator's first three ups, training only.
        jitter_px: random crop out of an image enlarged by so much; 0 switches it off.
        flip: mirror half of the pairs.
        precision: ``fp32``, or ``bf16`` autocast.
        seed: decides the initial weights, the split, the order and the augmentation.
        samples: validation pairs in the sample grid, and frames for the exporter's parity check.
    """

    data: str = "data"
    input_side: InputSide = "right"
    palette: str = "auto"
    height: int = 256
    width: int = 256
    epochs: int = 50
    max_steps: int | None = None
    batch_size: int = 128
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    lambda_l1: float = 100.0
    ngf: int = 64
    ndf: int = 64
    norm: Norm = "batch"
    dropout: float = 0.5
    jitter_px: int = 30
    flip: bool = True
    precision: Precision = "fp32"
    seed: int = 0
    samples: int = 8

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "ngf", "ndf", "samples"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.max_steps is None or self.max_steps >= 1, "max_steps", self.max_steps, ">= 1")
        _require(0 < self.lr < 1, "lr", self.lr, "between 0 and 1")
        _require(0 <= self.beta1 < 1, "beta1", self.beta1, "from 0 up to 1")
        _require(0 <= self.beta2 < 1, "beta2", self.beta2, "from 0 up to 1")
        _require(self.lambda_l1 >= 0, "lambda_l1", self.lambda_l1, "0 or more")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "from 0 up to 1")
        _require(0 <= self.jitter_px <= 256, "jitter_px", self.jitter_px, "from 0 to 256")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "from 0 to 2**32 - 1")
        for name, choices in _CHOICES.items():
            _require(getattr(self, name) in choices, name, getattr(self, name), f"one of {choices}")
        try:
            downsamplings_for(self.height, self.width)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def downsamplings(self) -> int:
        """How often the generator halves the image."""
        return downsamplings_for(self.height, self.width)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; :meth:`from_json` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TrainConfig:
        """Read what :meth:`to_json` wrote.

        Raises:
            ConfigError: a key is unknown (the message names the nearest one) or has a wrong type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key, value in document.items():
            if key not in fields:
                near = get_close_matches(key, fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"unknown setting {key!r}{hint}")
            kinds = _kinds(fields[key].default)
            if value is not None and (not isinstance(value, kinds) or _is_stray_bool(value, kinds)):
                raise ConfigError(f"setting {key!r} is {value!r}, not {kinds[0].__name__}")
        return cls(**document)


_CHOICES: dict[str, tuple[str, ...]] = {
    "input_side": get_args(InputSide),
    "norm": get_args(Norm),
    "precision": get_args(Precision),
}


def _kinds(default: Any) -> tuple[type, ...]:
    if default is None:
        return (int,)
    return (float, int) if isinstance(default, float) else (type(default),)


def _is_stray_bool(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, bool) and bool not in kinds


def _require(holds: bool, name: str, value: Any, what: str) -> None:
    if not holds:
        raise ConfigError(f"{name.replace('_', '-')} is {value!r}; it must be {what}")
