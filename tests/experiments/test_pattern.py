"""The picture of the fixed pattern."""

from __future__ import annotations

import numpy as np

from experiments.pictures.pattern import draw_patterns, picture_of
from p2p_train.metrics.pattern import FixedPattern


def test_a_map_for_each_pattern() -> None:
    """A pattern shows in its place and colour; a plain surface shows nothing."""
    label, plain = np.full((64, 64, 3), 40, np.uint8), np.full((64, 64, 3), 100, np.uint8)
    stamped = plain.copy()
    stamped[28:36, 28:36] = 112
    patterns = {"plain": FixedPattern(), "stamped": FixedPattern()}
    for _ in range(8):
        patterns["plain"].add(label, plain)
        patterns["stamped"].add(label, stamped)
    assert np.nanmax(picture_of(patterns["stamped"])) > 10
    assert np.nanmax(np.abs(picture_of(patterns["plain"]))) == 0
    blue, green, red = np.moveaxis(draw_patterns(patterns).astype(int), -1, 0)
    red = (red > 90) & (green < 60) & (blue < 70)
    half = red.shape[1] // 2
    assert red[:, half : int(1.7 * half)].sum() > 100
    assert red[:, : half - 20].sum() == 0
