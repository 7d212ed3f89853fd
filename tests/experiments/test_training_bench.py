"""The benchmark of a training step."""

from __future__ import annotations

from experiments.speed.training_step import bare_step, take_turns
from p2p_train.config import TrainConfig


def test_contenders_take_turns_and_warm_up_is_not_counted() -> None:
    """Each round runs every contender once, in order; the first rounds leave no figures."""
    calls: list[str] = []
    steps = {name: (lambda name=name: calls.append(name)) for name in ("a", "b")}
    seconds = take_turns(steps, rounds=3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_the_bare_loop_takes_a_step() -> None:
    """The loop that the trainer is compared with does run both networks, in either layout."""
    config = TrainConfig(height=32, width=32, ngf=2, ndf=2, batch_size=2, precision="bf16")
    for channels_last in (True, False):
        bare_step(config, channels_last=channels_last)()
