"""Settings are written once, validated when created, and survive a round trip."""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from p2p_runtime.console import P2PCommand
from p2p_runtime.errors import ConfigError
from p2p_train.config import DataConfig, ModelConfig, TrainConfig
from p2p_train.options import setting_options
from p2p_train.recipes import RECIPES
from p2p_train.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyModelConfig(ModelConfig):
    """A group with one more setting."""

    toy_px: int = setting(3, "Size of the toy.", metavar="N", bounds=(1, 9))


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyConfig(TrainConfig):
    """Settings with a toy among them."""

    model: ToyModelConfig = ToyModelConfig()


def test_defaults_are_those_of_pix2pix() -> None:
    """The defaults are the paper's, but for batches of 128 and 50 epochs."""
    config = TrainConfig()
    optim, model, data = config.optim, config.model, config.data
    assert (optim.lr, optim.beta1, optim.beta2, config.loss.lambda_l1) == (2e-4, 0.5, 0.999, 100)
    assert (optim.batch_size, optim.epochs, data.image_size) == (128, 50, (256, 256))
    assert (model.ngf, model.ndf, model.dropout, data.input_side) == (64, 64, 0.5, "right")


def test_settings_are_named_as_their_flags_whatever_their_group() -> None:
    """``of``, ``flat`` and ``replace`` take flags' names; groups take fields'."""
    config = TrainConfig.of(data="x", ngf=16)
    assert config == TrainConfig(data=DataConfig(folder="x"), model=ModelConfig(ngf=16))
    assert TrainConfig.of(**config.flat()) == config
    assert config.replace(ngf=8).model.ngf == 8
    with pytest.raises(ConfigError, match="'lambda_11'; did you mean 'lambda_l1'"):
        TrainConfig.of(lambda_11=1.0)


def test_json_round_trip() -> None:
    """A config comes back equal from its JSON form, which is nested by group."""
    config = TrainConfig.of(data="x", image_size=(64, 128), max_steps=3, palette="none")
    assert config.to_json()["data"]["image_size"] == [64, 128]
    assert TrainConfig.from_json(config.to_json()) == config


def test_a_toy_setting_is_one_line() -> None:
    """One more field gives a flag with help, a bound error, and a JSON round trip."""
    given: dict[str, object] = {}

    @click.command(cls=P2PCommand)
    @setting_options(ToyConfig)
    def toy(**flags: object) -> None:
        given.update(flags)

    assert CliRunner().invoke(toy, ["--toy-px", "5"]).exit_code == 0
    assert given["toy_px"] == 5
    assert "--toy-px N" in (page := CliRunner().invoke(toy, ["--help"]).output)
    assert "Size of the toy.  [default: 3]" in page
    with pytest.raises(ConfigError, match="toy-px is 10; it must be from 1 to 9"):
        ToyConfig.of(toy_px=10)
    assert ToyConfig.from_json(ToyConfig.of(toy_px=5).to_json()).model.toy_px == 5


def test_the_settings_page_is_current(root: Path) -> None:
    """Who changes a setting runs ``python docs/make_settings.py``."""
    make_page = runpy.run_path(str(root / "docs" / "make_settings.py"))["make_page"]
    assert (root / "docs" / "settings.md").read_text(encoding="utf-8") == make_page()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("beta1", 1.0),
        ("lambda_l1", -1.0),
        ("dropout", 1.0),
        ("ngf", 0),
        ("norm", "layer"),
        ("precision", "int8"),
        ("input_side", "top"),
        ("seed", -1),
        ("max_steps", 0),
    ],
)
def test_impossible_values_are_named(name: str, value: object) -> None:
    """A value out of range is one line that names the setting."""
    with pytest.raises(ConfigError, match=name.replace("_", "-")):
        TrainConfig.of(**{name: value})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_settings_that_exist(name: str) -> None:
    """Each recipe makes a config; ``paper`` trains as published, ``edge`` is complete."""
    config = TrainConfig.of(**{"teacher": "t.pt", **RECIPES[name]})
    if name == "paper":
        assert (config.optim.batch_size, config.optim.epochs, config.optim.lr_decay) == (
            1,
            200,
            True,
        )
    if name == "edge":
        assert (config.model.ngf, config.model.discriminator) == (16, "projected")
        assert config.loss.lambda_pattern
    if name == "student":
        assert config.loss.gan_loss == "none"


def test_auto_precision_must_be_decided() -> None:
    """``precision`` of a config that is still ``auto`` is an error, not a guess."""
    with pytest.raises(ConfigError, match="not decided"):
        _ = TrainConfig.of(precision="auto").precision


def test_fault_14_image_size_that_does_not_fit() -> None:
    """255, 288 and 300 px are refused before training, with the nearest size that works."""
    for side in (255, 288, 300):
        with pytest.raises(ConfigError, match="the nearest size is 256x256"):
            TrainConfig.of(image_size=(side, side))


def test_a_crop_gives_the_grid_and_images_fit_it() -> None:
    """256 px crops of 512x256 images go down to 1 px; what is larger, or off the grid, is told."""
    assert TrainConfig.of(image_size=(512, 256), crop=256).downsamplings == 8
    assert TrainConfig.of(image_size=(1024, 512), crop=128).downsamplings == 7
    assert TrainConfig.of(image_size=(960, 544), crop=256, num_downs=5).downsamplings == 5
    with pytest.raises(ConfigError, match=r"crop is 512 px; images of 512x256 are less"):
        TrainConfig.of(image_size=(512, 256), crop=512)
    with pytest.raises(ConfigError, match=r"image size 960x544 .* or give --num-downs 5$"):
        TrainConfig.of(image_size=(960, 544), crop=256)
    with pytest.raises(ConfigError, match=r"image size 200x200 .* nearest size is 256x256$"):
        TrainConfig.of(image_size=(512, 256), crop=200)


def test_settings_that_are_gone_do_not_keep_a_checkpoint_from_being_read() -> None:
    """They are passed over where they had their default, and named where a run used them."""
    document = TrainConfig.of(ngf=24).to_json()
    document["loss"] |= {"lambda_style": 0.0, "lambda_distil_channel": 2.0}
    assert TrainConfig.from_json(document) == TrainConfig.of(ngf=24)
    document["loss"]["lambda_style"] = 100.0
    with pytest.raises(ConfigError, match="unknown setting 'lambda_style'"):
        TrainConfig.from_json(document)


def test_fault_27_unknown_and_wrongly_typed_keys() -> None:
    """An unknown key is named with its nearest match, a wrong type with the right one."""
    with pytest.raises(ConfigError, match="'lambda_11'; did you mean 'lambda_l1'"):
        TrainConfig.from_json({"loss": {"lambda_11": 10.0}})
    with pytest.raises(ConfigError, match="'optin'; did you mean 'optim'"):
        TrainConfig.from_json({"optin": {}})
    with pytest.raises(ConfigError, match="group 'optim'"):
        TrainConfig.from_json({"optim": 3})
    for name, value in (("epochs", "ten"), ("epochs", True), ("lr_decay", 1), ("lr", "2e-4")):
        with pytest.raises(ConfigError, match=name.replace("_", "-")):
            TrainConfig.from_json({"optim": {name: value}})
