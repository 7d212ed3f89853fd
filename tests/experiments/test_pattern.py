"""The picture of what generators stamp at the same places."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from experiments.pictures.pattern import draw_patterns
from p2p_train.metrics import FixedPattern


def test_a_map_for_each_pattern() -> None:
    """A stamp shows where it is, in its colour; a plain surface shows nothing."""
    label, plain = np.full((64, 64, 3), 40, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    stamped = plain.copy()
    stamped[28:36, 28:36] = 112
    patterns = {"plain": FixedPattern(), "stamped": FixedPattern()}
    for _ in range(8):
        patterns["plain"].add(label, plain)
        patterns["stamped"].add(label, stamped)
    assert np.nanmax(patterns["stamped"].picture()) > 10
    assert np.nanmax(np.abs(patterns["plain"].picture())) == 0
    with Image.open(io.BytesIO(draw_patterns(patterns))) as chart:
        pixels = np.asarray(chart.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 90) & (pixels[..., 1] < 60) & (pixels[..., 2] < 70)
    half = pixels.shape[1] // 2
    assert red[:, half : int(1.7 * half)].sum() > 100
    assert red[:, : half - 20].sum() == 0
