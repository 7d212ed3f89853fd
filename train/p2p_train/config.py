"""Every setting of a training run, in one frozen value that lies inside its checkpoints.

A setting is one field: its flag, its bounds, its help and its row in docs/settings.md are made from
it by :mod:`p2p_train.settings`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from p2p_runtime.errors import ConfigError

from .networks.geometry import (
    MAX_DOWNSAMPLINGS,
    MIN_DOWNSAMPLINGS,
    NORM_GROUPS,
    Norm,
    downsamplings_for,
)
from .settings import Setting, SettingGroup, check_known, setting, settings_of

__all__ = [
    "DataConfig", "Discriminator", "GanLoss", "InputSide", "LossConfig", "ModelConfig",
    "OptimConfig", "Precision", "PrecisionChoice", "TrainConfig",
]  # fmt: skip

InputSide = Literal["left", "right"]
Labels = Literal["auto", "colour", "ids"]
Precision = Literal["fp32", "bf16", "fp16"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
GanLoss = Literal["bce", "hinge", "none"]
Discriminator = Literal["patch", "projected"]

_BELOW_ONE = (0.0, math.nextafter(1.0, 0.0))
_TINY = 1e-12
_BATCH = (1, 2**16)

_GONE = {
    "max_width": None,
    "norm_min_px": 2,
    "spectral_norm": False,
    "update_bn": 0,
    "lambda_style": 0.0,
    "style_from": 0.75,
    "feature_network": "teacher",
    "lambda_distil_channel": 2.0,
}
"""Settings that checkpoints of earlier versions hold, and their defaults then."""

# Settings of a kind
_number = partial(setting, metavar="N")
_channels = partial(_number, bounds=(1, 1024))
_rate = partial(setting, metavar="RATE", bounds=(_TINY, 1.0))
_folder = partial(setting, metavar="NAME")

# Settings that few need
_advanced = partial(setting, advanced=True)
_advanced_number = partial(_number, advanced=True)
_fraction = partial(_advanced, metavar="X", bounds=_BELOW_ONE)
_share = partial(_advanced, metavar="SHARE", bounds=(0.0, 1.0))
_weight = partial(_advanced, metavar="X", bounds=(0.0, 1e6))
_distil = partial(_weight, group="Distillation")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(SettingGroup):
    """Which pairs to train on, and how to read and augment them."""

    heading: ClassVar[str] = "Data"

    folder: str = setting("data", "Folder with the pairs.", metavar="DIR", key="data")
    input_side: InputSide = setting("right", "Which half of a side-by-side image is the input.")
    input_dir: str | None = _folder(None, "Folder of the inputs in --data, if not a common name.")
    target_dir: str | None = _folder(None, "Folder of the targets in --data, if not a common name.")
    label_dir: str | None = _folder(
        None,
        "Folder of label maps in --data, beside inputs that are pictures: for the semantic loss "
        "and the segmentation score.",
        advanced=True,
    )
    allow_missing: bool = _advanced(False, "Leave out unpaired images instead of refusing them.")
    palette: str = setting(
        "auto",
        "Label colours: cityscapes, camvid or a file; none for inputs that are pictures.",
        metavar="NAME|FILE.json|auto|none",
    )
    labels: Labels = setting("auto", "Whether inputs hold palette colours or class ids.")
    ids: str | None = setting(
        None,
        "Numbering of class ids: cityscapes-label, cityscapes-train, carla (0.9.14 and later), "
        "carla-0.9.13, camvid, own (the palette's order) or a file.",
        metavar="NAME|FILE.json",
    )
    image_size: tuple[int, int] = setting(
        (256, 256), "Size in pixels: multiples of 256, or of a smaller power of two.", metavar="WxH"
    )
    crop: int | None = setting(
        None,
        "Train on random squares of this side out of the images; models keep --image-size.",
        metavar="PX",
        bounds=(32, 8192),
    )
    jitter_px: int = _advanced_number(
        30, "Random crop out of an image enlarged by N pixels; 0 switches it off.", bounds=(0, 256)
    )
    flip: bool = _advanced(True, "Mirror half of the pairs.")
    samples: int = _advanced_number(
        8, "Number of validation pairs in the sample grid.", bounds=(1, 1024)
    )
    seed: int = _number(
        0, "Random seed: weights, split, order, augmentation.", bounds=(0, 2**32 - 1), group="Run"
    )

    @property
    def width(self) -> int:
        """Width of the images in pixels."""
        return self.image_size[0]

    @property
    def height(self) -> int:
        """Height of the images in pixels."""
        return self.image_size[1]

    @property
    def trained_size(self) -> tuple[int, int]:
        """Width and height in pixels of what a step sees: of the images, or of the crops."""
        return self.image_size if self.crop is None else (self.crop, self.crop)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(SettingGroup):
    """The shapes of generator and discriminator; the defaults are those of pix2pix."""

    heading: ClassVar[str] = "Model"

    ngf: int = _channels(64, "Channels of the generator's first layer; 16 or 32 for small devices.")
    # projected: Sauer et al. 2021, arXiv 2111.01007
    discriminator: Discriminator = setting(
        "patch",
        "patch: PatchGAN, as published; projected: heads on ImageNet features, far fewer steps.",
    )
    ndf: int = _channels(64, "Channels of the discriminator's first layer.", advanced=True)
    num_downs: int | None = _advanced_number(
        None,
        "Downsamplings of the generator, 4 to 8; fewer save weights.  [default: to 1 px]",
        bounds=(MIN_DOWNSAMPLINGS, MAX_DOWNSAMPLINGS),
    )
    norm: Norm = setting(
        "batch", "Normalisation; batch is free on the device, instance is not.", advanced=True
    )
    checkerboard_free: bool = _advanced(
        False, "Constrain transposed convolutions so that they make no checkerboards."
    )
    dropout: float = _fraction(
        0.5, "Dropout probability in the first three decoder blocks; training only."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig(SettingGroup):
    """How long and how fast both networks learn."""

    heading: ClassVar[str] = "Optimiser"

    epochs: int = _number(50, "Passes over the pairs.", bounds=(1, 10**6))
    max_steps: int | None = _number(None, "Stop after N steps in total.", bounds=(1, 10**9))
    batch_size: int = _number(128, "Pairs per step.", bounds=_BATCH)
    micro_batch: int | None = _advanced(
        None,
        "Pairs at a time within a step; auto halves them when memory runs out.",
        metavar="N|auto",
        bounds=_BATCH,
        group="Machine",
    )
    lr: float = _rate(2e-4, "Adam's learning rate.")
    # Two time-scales: Heusel et al. 2017, arXiv 1706.08500
    lr_discriminator: float | None = _rate(
        None, "The discriminator's learning rate.  [default: that of --lr]", advanced=True
    )
    lr_decay: bool = _advanced(
        False, "Lower the learning rates linearly to zero over the second half of the run."
    )
    beta1: float = _fraction(0.5, "Adam's decay rate of the mean.")
    beta2: float = _fraction(0.999, "Adam's decay rate of the square.")
    # Yazici et al. 2019, arXiv 1806.04498
    ema: float = _fraction(
        0.0, "Export a moving average of the generator's weights with this decay; 0 for none."
    )
    freeze_batchnorm: float = _share(
        1.0, "Share of the run after which BatchNorm uses its running statistics; 1 for never."
    )
    precision: PrecisionChoice = setting(
        "fp32", "auto: bf16 if the device has it, about twice as fast; else fp32.", group="Machine"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig(SettingGroup):
    """What the networks minimise: the kinds of the losses and their weights."""

    heading: ClassVar[str] = "Losses"

    # hinge: Lim and Ye 2017, arXiv 1705.02894
    gan_loss: GanLoss = setting(
        "bce", "The adversarial loss; none trains without a discriminator.", advanced=True
    )
    lambda_gan: float = _weight(
        1.0, "Weight of the adversarial loss, in the generator's total only.", bounds=(_TINY, 1e6)
    )
    lambda_l1: float = _weight(100.0, "Weight of the L1 loss to the photo.", advanced=False)
    lambda_pattern: float = _weight(
        0.0, "Weight of the pattern loss: texture that pictures share at fixed places; try 30."
    )
    segmenter: str | None = setting(
        None, "Segmenter for the semantic loss; from p2p-train segmenter.", metavar="FILE.pt"
    )
    lambda_semantic: float = _weight(
        10.0, "Weight of the semantic loss: the segmenter's cross-entropy on generated pictures."
    )
    teacher: str | None = setting(
        None, "Larger trained generator to learn from.", metavar="RUN|FILE.pt", group="Distillation"
    )
    lambda_distil_l1: float = _distil(20.0, "Weight of the L1 distance to the teacher's image.")
    lambda_distil_ssim: float = _distil(10.0, "Weight of 1 - SSIM to the teacher's image.")
    lambda_distil_feature: float = _distil(
        20.0, "Weight of the distance of the teacher's discriminator's features at each position."
    )
    lambda_distil_style: float = _distil(
        20.0, "Weight of the distance of these features' Gram matrices."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """What to train on and how. The defaults are pix2pix as it was published.

    Adam's rates, the L1 weight and the image size follow Isola et al. 2017 (arXiv 1611.07004),
    sections 3.3 and 6.2; batch 128 and 50 epochs are this project's.

    Raises:
        ConfigError: settings contradict each other.
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    loss: LossConfig = LossConfig()

    def __post_init__(self) -> None:
        for name, kind in self.groups().items():
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} is not a {kind.__name__}; see TrainConfig.of")
        if self.model.discriminator == "projected" and self.model.ndf % NORM_GROUPS:
            raise ConfigError(
                f"ndf is {self.model.ndf}; "
                f"the projected discriminator needs a multiple of {NORM_GROUPS}"
            )
        no_target = self.loss.gan_loss == "none" and not self.loss.lambda_l1
        if no_target and self.loss.teacher is None:
            raise ConfigError(
                "without an adversarial and an L1 loss there is nothing to learn from; "
                "give a --teacher"
            )
        _ = self.downsamplings

    @property
    def downsamplings(self) -> int:
        """Number of the generator's encoder blocks; a ConfigError if the sizes do not fit."""
        (width, height), data = self.data.trained_size, self.data
        if width > data.width or height > data.height:
            raise ConfigError(f"crop is {width} px; images of {data.width}x{data.height} are less")
        most = self.model.num_downs or MAX_DOWNSAMPLINGS
        most = downsamplings_for(height, width, most)
        return downsamplings_for(data.height, data.width, most)

    @property
    def precision(self) -> Precision:
        """Arithmetic of the networks; a ConfigError until :func:`.choose_precision` has decided."""
        if self.optim.precision == "auto":
            raise ConfigError("precision auto is not decided yet; it depends on the device")
        return self.optim.precision

    @classmethod
    def groups(cls) -> dict[str, type[SettingGroup]]:
        """Return the type of each group, by its name."""
        return {field.name: type(field.default) for field in dataclasses.fields(cls)}  # type: ignore[misc]  # each default is a group

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return all settings of all groups, by the name of their flag."""
        return {one.key: one for group in cls.groups().values() for one in settings_of(group)}

    @classmethod
    def of(cls, **values: Any) -> TrainConfig:
        """Make a config from settings of any group, named as their flags are in snake case.

        ``TrainConfig.of(data="photos", ngf=16)`` is short for
        ``TrainConfig(data=DataConfig(folder="photos"), model=ModelConfig(ngf=16))``.

        Raises:
            ConfigError: a name is unknown, or a value is impossible.
        """
        check_known(values, cls.settings())
        groups: dict[str, Any] = {}
        for name, group in cls.groups().items():
            given = {s.name: values[s.key] for s in settings_of(group) if s.key in values}
            groups[name] = group(**given)
        return cls(**groups)

    def flat(self) -> dict[str, Any]:
        """Return all settings as :meth:`of` takes them."""
        groups = [getattr(self, name) for name in self.groups()]
        return {s.key: getattr(group, s.name) for group in groups for s in settings_of(type(group))}

    def replace(self, **values: Any) -> TrainConfig:
        """Return a copy with other values, named as in :meth:`of`."""
        return self.of(**{**self.flat(), **values})

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, nested by group; :meth:`from_json` reads them back."""
        document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TrainConfig:
        """Read what :meth:`to_json` wrote; settings that it lacks take their defaults.

        Settings that are gone are passed over where they had their default.

        Raises:
            ConfigError: a key is unknown, or a value is impossible.
        """
        groups, read = cls.groups(), {}
        check_known(document, groups)
        for name, values in document.items():
            if not isinstance(values, dict):
                raise ConfigError(f"group {name!r} of settings is {values!r}, not an object")
            values = {k: v for k, v in values.items() if (k, v) not in _GONE.items()}
            check_known(values, [one.name for one in settings_of(groups[name])])
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            read[name] = groups[name](**fields)
        return cls(**read)  # type: ignore[arg-type]  # each is of its group's type
