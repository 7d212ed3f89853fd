"""The benchmark over the encoder's presets."""

from __future__ import annotations

import numpy as np

from experiments.speed.encoding import measure_encodings


def test_every_preset_is_tried_at_every_quality() -> None:
    """A better quality is a larger file that is closer to what was written."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), np.uint8)
    frames = [np.kron(image, np.ones((6, 6, 1), np.uint8)) for image in noise]
    presets = ("superfast", "ultrafast")
    figures = measure_encodings(frames, rounds=2, presets=presets, qualities=(15, 35))
    ways = [("superfast", 15), ("superfast", 35), ("ultrafast", 15), ("ultrafast", 35)]
    assert [(row.preset, row.crf) for row in figures] == ways
    assert all(row.cpu_ms > 0 for row in figures)
    for better, worse in (figures[:2], figures[2:]):
        assert better.kib > worse.kib
        assert better.psnr_db > worse.psnr_db + 3
