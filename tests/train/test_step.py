"""One training step, and the options that stabilise it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from p2p_runtime.errors import ConfigError
from p2p_train.config import GanLoss, TrainConfig
from p2p_train.data.dataset import PairBatch
from p2p_train.losses.adversarial import AdversarialLoss, patch_loss
from p2p_train.losses.base import GeneratorOutput, LossBatch, LossSetup
from p2p_train.networks.norms import batch_norms
from p2p_train.training.state import AVERAGE_LOOKS_EVERY, TrainState
from p2p_train.training.step import train_step

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def batch(pairs: int = 4) -> PairBatch:
    """Return noise pairs, 32x32."""
    generator = torch.Generator().manual_seed(1)
    shape = (pairs, 32, 32, 3)
    source, target = (
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(2)
    )
    return PairBatch(source=source, target=target)


def stacked(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return a step's losses as one vector."""
    return torch.stack(list(losses.values()))


def weights(state: TrainState) -> torch.Tensor:
    """Return all weights of both networks in one vector."""
    parameters = [*state.generator.parameters(), *state.discriminator.parameters()]
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def test_a_step_updates_both_networks(tiny: MakeConfig) -> None:
    """After a step every parameter of both networks has moved, and four losses are known."""
    state = TrainState(tiny(), CPU)
    before = [p.detach().clone() for p in (*state.generator.parameters(),)]
    losses = train_step(state, batch())
    moved = [
        not torch.equal(a, b) for a, b in zip(before, state.generator.parameters(), strict=True)
    ]
    assert all(moved)
    assert stacked(losses).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "real", "fake", "fooled"),
    [("bce", 0.3133, 2.1269, 2.1269), ("hinge", 0.0, 3.0, -2.0)],
)
def test_losses_match_their_formulas(
    kind: GanLoss, real: float, fake: float, fooled: float
) -> None:
    """Each adversarial loss has the value of its paper's formula at logits 1 and 2."""
    one, two = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 2.0)
    assert float(patch_loss(kind, one, real=True)) == pytest.approx(real, abs=1e-4)
    assert float(patch_loss(kind, two, real=False)) == pytest.approx(fake, abs=1e-4)
    logits = -two if kind == "bce" else two  # log(1 + exp(2)) when the logit is -2
    setup = LossSetup(
        config=TrainConfig.of(gan_loss=kind),
        discriminator=lambda source, image: logits,  # type: ignore[arg-type]  # as a network
    )
    batch = LossBatch(source=one, target=one)
    loss = AdversarialLoss(setup)(batch, GeneratorOutput(image=one))
    assert float(loss) == pytest.approx(fooled, abs=1e-4)


def test_a_light_adversary_moves_the_generator_less(tiny: MakeConfig) -> None:
    """With little else to learn from, steps follow the weight of the adversarial loss."""
    moved: dict[float, torch.Tensor] = {}
    for weight in (1.0, 0.25):
        state = TrainState(tiny(lambda_gan=weight, lambda_l1=1e-9, dropout=0.0), CPU)
        train_step(state, batch())
        moved[weight] = state.generator.output[0].weight.grad.clone()
    torch.testing.assert_close(moved[0.25], 0.25 * moved[1.0], rtol=1e-3, atol=1e-9)
    with pytest.raises(ConfigError, match="lambda-gan"):
        tiny(lambda_gan=0.0)


def test_training_keeps_the_generator_checkerboard_free(tiny: MakeConfig) -> None:
    """After every step the kernels of the generator and its average are checkerboard-free."""
    state = TrainState(tiny(checkerboard_free=True, ema=0.9), CPU)
    before = weights(state)
    for _ in range(3):
        train_step(state, batch())
        state.count(train_step(state, batch()))
    assert not torch.equal(weights(state), before)
    for generator in (state.generator, state.average):
        for block in (*generator.decoder, generator.output):
            for taps in (block[0].weight.detach(), block[0].weight.detach().mT):
                even, odd = taps[..., ::2].sum(dim=-1), taps[..., 1::2].sum(dim=-1)
                torch.testing.assert_close(even, odd, rtol=0, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_learn_what_the_whole_batch_learns(
    tiny: MakeConfig, micro_batch: int
) -> None:
    """Without batch statistics and dropout, micro-batches change nothing but rounding."""
    settings = {"norm": "instance", "dropout": 0.0}
    whole = TrainState(tiny(**settings), CPU)
    parts = TrainState(tiny(**settings, micro_batch=micro_batch), CPU)
    one, two = train_step(whole, batch()), train_step(parts, batch())
    torch.testing.assert_close(stacked(one), stacked(two), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=0, atol=5e-5)


def test_micro_batches_count_running_statistics_once(tiny: MakeConfig) -> None:
    """Two passes a step move each running statistic as often as there are micro-batches."""
    state = TrainState(tiny(micro_batch=4), CPU)
    state.micro_batch = 2
    momenta: list[float | None] = []
    norm = batch_norms(state.generator)[0]
    norm.register_forward_pre_hook(lambda module, inputs: momenta.append(module.momentum))
    train_step(state, batch())
    assert momenta == [0.0, 0.0, 0.1, 0.1]


def test_running_out_of_memory_halves_the_micro_batch_and_goes_on(
    tiny: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An out-of-memory error leads to half the size; the discriminator is updated just once."""
    state = TrainState(tiny(), CPU)
    assert state.discriminator_optimizer is not None
    real_step = state.discriminator_optimizer.step
    updates: list[int] = []

    def short_of_memory(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 1 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("injected")

    state.generator.register_forward_pre_hook(short_of_memory)
    monkeypatch.setattr(
        state.discriminator_optimizer, "step", lambda: (updates.append(1), real_step())
    )
    with pytest.raises(torch.OutOfMemoryError):
        train_step(state, batch())
    assert stacked(train_step(state, batch(), halve_on_out_of_memory=True)).isfinite().all()
    assert state.micro_batch == 1
    assert len(updates) == 1


def test_the_average_follows_the_generator_and_is_exported(tiny: MakeConfig) -> None:
    """With EMA the exported weights lie between the first and the newest ones."""
    state = TrainState(tiny(ema=0.9), CPU)
    first = state.generator.output[0].weight.detach().clone()
    state.count(train_step(state, batch()))
    newest, exported = state.generator.output[0].weight, state.exported_generator().output[0].weight
    decay = 1 / 11  # min(0.9, (1 + step) / (10 + step)) at a young age
    torch.testing.assert_close(exported, first * decay + newest * (1 - decay))


def test_the_average_measures_its_own_statistics(tiny: MakeConfig) -> None:
    """Running statistics are those of the averaged weights, until training freezes its own."""
    state = TrainState(tiny(ema=0.9, freeze_batchnorm=0.5), CPU)
    assert state.average is not None
    norm = batch_norms(state.average)[0]
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for _ in range(AVERAGE_LOOKS_EVERY + 1):
        state.begin_step(100)
        state.count(train_step(state, batch()))
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean((0, 1, 3, 4)))
    theirs = batch_norms(state.generator)[0].running_mean
    assert not torch.allclose(norm.running_mean, theirs)
    assert not norm.training
    state.step = 60
    state.begin_step(100)
    train_step(state, batch())
    torch.testing.assert_close(norm.running_mean, theirs)
    assert len(seen) == 2


def test_rates_fall_to_zero_over_the_second_half(tiny: MakeConfig) -> None:
    """Linear decay: full rate until half time, half of it at three quarters, zero at the end."""
    state = TrainState(tiny(lr_decay=True, lr_discriminator=4e-4), CPU)
    rates = []
    for step in (0, 50, 75, 100):
        state.step = step
        state.begin_step(100)
        optimizers = state.optimizers()
        rates.append([one.adam.param_groups[0]["lr"] for one in optimizers])
    assert rates == [[2e-4, 4e-4], [2e-4, 4e-4], [1e-4, 2e-4], [0, 0]]


def test_frozen_batchnorm_trains_with_running_statistics(tiny: MakeConfig) -> None:
    """From the chosen share on, running statistics stand still while the weights go on."""
    state = TrainState(tiny(freeze_batchnorm=0.5), CPU)
    norm = batch_norms(state.generator)[0]
    state.begin_step(2)
    state.count(train_step(state, batch()))
    before, gain = norm.running_mean.clone(), norm.weight.detach().clone()
    state.begin_step(2)
    state.count(train_step(state, batch()))
    assert torch.equal(norm.running_mean, before)
    assert not torch.equal(norm.weight, gain)


def test_running_statistics_of_a_young_run_are_those_of_its_batches(tiny: MakeConfig) -> None:
    """The variance of 1 that BatchNorm begins with is gone, also if it is frozen a few steps on."""
    state = TrainState(tiny(), CPU)
    state.begin_step(2)
    train_step(state, batch())
    assert all(norm.running_var.max() < 0.5 for norm in batch_norms(state.generator))


def test_recomputing_activations_changes_no_gradient(tiny: MakeConfig) -> None:
    """Activation checkpointing gives the same weights, and counts running statistics once."""
    states = [TrainState(tiny(dropout=0.0), CPU) for _ in range(2)]
    states[1].generator.recompute = True
    for state in states:
        train_step(state, batch())
    torch.testing.assert_close(weights(states[0]), weights(states[1]), rtol=0, atol=1e-6)
    for one, two in zip(*(batch_norms(state.generator) for state in states), strict=True):
        torch.testing.assert_close(one.running_mean, two.running_mean)


def test_fault_11_fp16_that_overflows_skips_the_step(tiny: MakeConfig) -> None:
    """Gradients that are infinite leave the weights alone and halve the loss scale."""
    state = TrainState(tiny(precision="fp16"), CPU)
    optimizer = state.generator_optimizer
    before = state.generator.output[0].weight.detach().clone()
    optimizer.scaler.scale(state.generator.output[0].weight.sum() * 1e38).backward()
    optimizer.step()
    assert torch.equal(state.generator.output[0].weight, before)
    assert optimizer.scaler.get_scale() == 2**15


def test_fault_12_black_images_give_no_nan(tiny: MakeConfig) -> None:
    """Constant images, whose variance is zero, leave instance norm finite."""
    state = TrainState(tiny(norm="instance"), CPU)
    black = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    for _ in range(20):
        losses = train_step(state, PairBatch(source=black, target=black))
    assert stacked(losses).isfinite().all()
    state.check_weights()
