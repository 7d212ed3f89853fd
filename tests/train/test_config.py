"""Settings are checked at birth and survive a round trip."""

from __future__ import annotations

import pytest

from p2p_runtime.errors import ConfigError
from p2p_train.config import TrainConfig


def test_defaults_are_the_papers() -> None:
    """The defaults are the recipe that the project began with."""
    config = TrainConfig()
    assert (config.lr, config.beta1, config.beta2, config.lambda_l1) == (2e-4, 0.5, 0.999, 100)
    assert (config.batch_size, config.epochs, config.height, config.width) == (128, 50, 256, 256)
    assert (config.ngf, config.ndf, config.dropout, config.input_side) == (64, 64, 0.5, "right")


def test_json_round_trip() -> None:
    """A config comes back equal from its JSON form."""
    config = TrainConfig(data="x", height=128, width=64, max_steps=3, palette="none")
    assert TrainConfig.from_json(config.to_json()) == config


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
        TrainConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("others", [{}, {"ema": 0.9, "norm": "instance"}])
def test_statistics_are_estimated_for_averages_with_batch_norm_only(others: dict) -> None:
    """Elsewhere there is nothing to estimate, and asking for it is an error."""
    with pytest.raises(ConfigError, match=r"--ema 0\.999 and --norm batch"):
        TrainConfig(estimate_norm=8, **others)


def test_fault_14_image_size_that_does_not_fit() -> None:
    """255, 288 and 300 px are refused before training, with the nearest size that works."""
    for side in (255, 288, 300):
        with pytest.raises(
            ConfigError, match=r"multiples of \d+ here; the nearest size is 256x256"
        ):
            TrainConfig(height=side, width=side)


def test_fault_27_unknown_and_wrongly_typed_keys() -> None:
    """An unknown key is named with its nearest match, a wrong type with the right one."""
    with pytest.raises(ConfigError, match="'lambda_11'; did you mean 'lambda_l1'"):
        TrainConfig.from_json({"lambda_11": 10.0})
    for name, value in (("epochs", "ten"), ("epochs", True), ("flip", 1), ("lr", "2e-4")):
        with pytest.raises(ConfigError, match=name):
            TrainConfig.from_json({name: value})
