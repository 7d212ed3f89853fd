"""The benchmark of a student's step."""

from __future__ import annotations

from experiments.speed.loss_costs import contenders
from p2p_train.config import TrainConfig


def test_each_step_adds_one_part_to_the_one_before() -> None:
    """First what a generator that is alone may be asked, then what a student learns."""
    configs = {name: TrainConfig(**changes) for name, changes in contenders("run", "j.pt").items()}
    alone = [config for name, config in configs.items() if name.startswith("alone")]
    taught = [config for config in configs.values() if config.teacher]
    assert len(alone) + len(taught) == len(configs)
    asked = [
        (config.even_ups, bool(config.consistency), bool(config.reader), bool(config.lambda_style))
        for config in alone
    ]
    assert asked[:5] == [
        (False, False, False, False),
        (True, False, False, False),
        (True, True, False, False),
        (False, False, True, False),
        (False, False, True, True),
    ]
    assert [config.gan_loss for config in alone] == [*["bce"] * 5, "none"]
    assert [len(config.distillation) for config in taught] == [1, 3, 5, 5, 5]
    assert [config.gan_loss for config in taught] == [*["none"] * 4, "bce"]
    assert [config.eyes for config in taught[2:]] == ["j.pt", "teacher", "teacher"]
