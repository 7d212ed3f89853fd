"""The gates between an exported file and its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from p2p_export.graph.pixel_generator import PixelGenerator
from p2p_export.parity import ParityReport, compare, picture, run_torch
from p2p_runtime.errors import ExportError, ParityError
from toy_export import toy_frames, toy_generator

GOOD = ParityReport(
    precision="fp32",
    frames=8,
    max_levels=2,
    mean_levels=0.1,
    within_one=0.999,
    psnr_db=50.0,
    worst_psnr_db=50.0,
    ssim=1.0,
    worst_frame=3,
    constant_frames=0,
)


def test_equal_images_pass_every_gate():
    """Nothing is wrong with images that are the same."""
    images = toy_frames()
    for precision in ("fp32", "fp16", "int8"):
        report = compare(images, images.copy(), precision=precision)
        report.require()
        assert (report.max_levels, report.within_one, report.psnr_db) == (0, 1.0, 99.0)
        assert report.ssim == pytest.approx(1.0)


def test_figures_are_those_of_the_difference():
    """One frame that is off by three levels throughout sets each figure, and is named."""
    images = toy_frames().clip(0, 250)
    other = images.copy()
    other[5] += 3
    report = compare(images, other, precision="fp32")
    assert (report.max_levels, report.worst_frame, report.frames) == (3, 5, 8)
    assert report.mean_levels == pytest.approx(3 / 8)
    assert report.within_one == pytest.approx(7 / 8)
    assert report.worst_psnr_db == pytest.approx(10 * np.log10(255**2 / 9), abs=0.01)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_levels": 3}, "up to 3 levels"),
        ({"within_one": 0.9989}, "99.89% of values"),
        ({"within_one": float("nan")}, "of values"),
        ({"constant_frames": 1}, "one colour"),
        ({"precision": "fp16", "psnr_db": 49.9}, "49.9 dB is under 50 dB"),
        ({"precision": "fp16", "psnr_db": float("nan")}, "under 50 dB"),
        ({"precision": "int8", "psnr_db": 39.9}, "39.9 dB is under 40 dB"),
        ({"precision": "int8", "worst_psnr_db": 37.9}, "frame 3 is 37.9 dB"),
    ],
)
def test_each_gate_closes(changes, reason):
    """A figure just outside is refused, and the message says which and by how much."""
    GOOD.require()
    with pytest.raises(ParityError, match=reason):
        replace(GOOD, **changes).require()


def test_black_frames_are_noticed():
    """An output of one colour, which is what NaN becomes, fails whatever the other figures."""
    images = toy_frames()
    broken = images.copy()
    broken[2] = 0
    assert compare(images, broken, precision="int8").constant_frames == 1


def test_weights_that_are_not_numbers_are_refused():
    """A checkpoint of a run that diverged is not exported."""
    generator = toy_generator()
    generator.encoder[1][0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ExportError, match="not numbers"):
        run_torch(PixelGenerator(generator), toy_frames())


def test_a_generator_of_one_colour_is_refused():
    """Activations that overflow, or a collapsed training, give one colour for every frame."""
    generator = toy_generator()
    generator.output[0].weight.data.zero_()
    with pytest.raises(ExportError, match="one colour"):
        run_torch(PixelGenerator(generator), toy_frames())


def test_the_picture_shows_both_and_the_difference():
    """torch, exported and eight times the difference stand side by side, clipped at white."""
    one = np.full((4, 4, 3), 100, np.uint8)
    other = one.copy()
    other[0, 0], other[1, 1] = 103, 200
    shown = picture(one, other)
    assert shown.shape == (4, 12, 3)
    assert shown[0, 8].tolist() == [24] * 3
    assert shown[1, 9].tolist() == [255] * 3
    assert shown[2:, 8:].max() == 0
