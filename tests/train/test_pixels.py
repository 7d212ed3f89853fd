"""The only normalisation in the project."""

from __future__ import annotations

import torch

from p2p_train.networks.pixels import to_pixels, to_signal


def test_every_level_survives_the_round_trip() -> None:
    """All 256 levels come back as they went in."""
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_pixels(to_signal(pixels)), pixels)


def test_signals_are_rgb_and_pixels_are_bgr() -> None:
    """A blue pixel, first channel in BGR, is the last channel of the signal."""
    blue = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 1, 1, 3)
    assert to_signal(blue).flatten().tolist() == [-1, -1, 1]
    assert torch.equal(to_pixels(to_signal(blue)), blue)


def test_signals_outside_the_range_are_clamped_not_wrapped() -> None:
    """Overshoot becomes black or white, never the opposite."""
    signal = torch.tensor([-1.5, 0.0, 1.5]).reshape(1, 3, 1, 1)
    assert to_pixels(signal).flatten().tolist() == [255, 128, 0]
