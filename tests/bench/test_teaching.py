"""The benchmark of a student's step."""

from __future__ import annotations

from p2p_bench.teaching import contenders
from p2p_train.config import TrainConfig


def test_each_step_adds_one_part_to_the_one_before() -> None:
    """Alone nothing is compared; then come the image, the rest without eyes, and what is seen."""
    configs = [TrainConfig(**changes) for changes in contenders("run", "judge.pt").values()]
    compared = [len(config.distillation) for config in configs]
    assert compared == [0, 0, 1, 3, 5, 5, 5]
    assert [config.gan_loss for config in configs] == ["bce", *["none"] * 5, "bce"]
    assert [config.eyes for config in configs[4:]] == ["judge.pt", "teacher", "teacher"]
