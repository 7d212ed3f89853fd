"""What is done to a generator before it is traced: nothing that changes what it computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from p2p_export.graph.pixel_generator import PixelGenerator, fold, swap_channels
from p2p_export.parity import run_torch
from p2p_runtime.errors import ExportError
from toy_export import toy_config, toy_frames, toy_generator


def signal(seed: int = 0) -> torch.Tensor:
    """Return a (2, 3, 64, 64) signal."""
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def kinds(module: nn.Module) -> set[type]:
    """Return the types of all layers."""
    return {type(layer) for layer in module.modules()}


@torch.inference_mode()
def test_folding_keeps_what_the_generator_computes(generator):
    """BatchNorm inside the convolutions gives the same signals, to rounding."""
    expected = generator.eval()(signal())
    assert expected.std() > 0.1, "the comparison would prove nothing"
    torch.testing.assert_close(fold(generator)(signal()), expected, atol=1e-5, rtol=0)


def test_folding_leaves_no_norm_and_no_dropout(generator):
    """Nothing that depends on the mode is left, and the argument still has all of it."""
    assert kinds(fold(generator)).isdisjoint({nn.BatchNorm2d, nn.Dropout})
    assert {nn.BatchNorm2d, nn.Dropout} <= kinds(generator)


@torch.inference_mode()
def test_folding_leaves_instance_norm_alone():
    """InstanceNorm depends on the picture, so it stays, and the signals stay."""
    generator = toy_generator(toy_config(norm="instance")).eval()
    folded = fold(generator)
    assert nn.InstanceNorm2d in kinds(folded)
    torch.testing.assert_close(folded(signal()), generator(signal()))


@torch.inference_mode()
def test_swapped_weights_read_and_write_bgr(generator):
    """The colour swap in the weights equals a flip on both sides."""
    expected = generator.eval()(signal())
    assert (expected - expected.flip(1)).abs().max() > 0.1, "the order would not show"
    swapped = swap_channels(generator)(signal().flip(1)).flip(1)
    torch.testing.assert_close(swapped, expected, atol=1e-5, rtol=0)


def test_the_exported_form_gives_the_trained_pixels(generator):
    """Folded and swapped, each frame comes out as trained, to a rounding edge."""
    frames = toy_frames()
    expected = run_torch(PixelGenerator(generator), frames).astype(int)
    folded = swap_channels(fold(generator))
    actual = run_torch(PixelGenerator(folded, order="bgr"), frames).astype(int)
    assert np.abs(actual - expected).max() <= 1


def test_fault_32_a_generator_left_in_training_mode_is_exported_in_eval_mode():
    """Wrapping switches dropout and batch statistics off; without that, two runs would differ."""
    generator = toy_generator()
    module = PixelGenerator(generator.train())
    assert not any(layer.training for layer in module.modules())
    module.train()
    with pytest.raises(ExportError, match="two images"):
        run_torch(module, toy_frames())
