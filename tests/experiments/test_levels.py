"""What a level of the U-Net draws, found by flattening it."""

from __future__ import annotations

import torch

from experiments.pictures.levels import draw_flattened
from p2p_train.networks.generator import UNetGenerator

PX = 64


def spotted_generator(level: int) -> UNetGenerator:
    """Return a generator in which one level draws a spot at a fixed place, as some learn to."""
    torch.manual_seed(0)
    generator = UNetGenerator(ngf=4, downsamplings=6).eval()

    def spot(
        _: torch.nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        output[..., 1, 0] += 100.0
        return output

    generator.decoder[level].register_forward_hook(spot)
    return generator


def test_the_level_that_draws_a_spot_is_the_one_without_which_it_is_gone() -> None:
    """Flattening spreads a spot of its own level; a spot that a level further out draws stays."""
    signal = torch.rand(1, 3, PX, PX).mul(2).sub(1)
    generator = spotted_generator(level=2)
    clean = spotted_generator(level=2)
    clean.decoder[2]._forward_hooks.clear()

    def spot_px(level: int | None) -> int:
        spotted = draw_flattened(generator, signal, level)
        difference = (spotted - draw_flattened(clean, signal, level)).abs().amax(dim=1)[0]
        return int((difference > 0.5 * difference.max()).sum())

    whole = spot_px(None)
    assert 0 < whole < PX * PX / 4
    assert spot_px(1) == whole
    assert spot_px(2) > 2 * whole


def test_flattening_leaves_the_generator_as_it_was() -> None:
    """No hook stays behind."""
    signal = torch.rand(1, 3, PX, PX).mul(2).sub(1)
    torch.manual_seed(0)
    generator = UNetGenerator(ngf=4, downsamplings=6).eval()
    before = draw_flattened(generator, signal, None)
    changed = draw_flattened(generator, signal, 3)
    assert not torch.equal(changed, before)
    assert torch.equal(draw_flattened(generator, signal, None), before)
