"""Label colours: presets, nearest colours, round trips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from p2p_runtime.errors import ConfigError, ContractError
from p2p_runtime.labels.color_lut import (
    CLASS_BITS,
    CONFIDENT,
    CONFIDENT_LEVELS,
    NEAR,
    NEAR_LEVELS,
    YCBCR_OF_BGR,
    ColorLut,
)
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES, Palette, load_palette

PAIR = Palette(name="pair", classes=("dark", "light"), colours_rgb=((0, 0, 0), (200, 100, 50)))


def test_cityscapes_has_its_29_colours() -> None:
    """The preset holds the 29 different colours of the data set, road among them."""
    assert len(CITYSCAPES.classes) == 29
    assert CITYSCAPES.colours_rgb[CITYSCAPES.classes.index("road")] == (128, 64, 128)


@settings(max_examples=30, deadline=None)
@given(frame=arrays(np.uint8, (5, 7, 3)), palette=st.sampled_from([CITYSCAPES, CAMVID, PAIR]))
def test_the_nearest_colour_is_found(frame: np.ndarray, palette: Palette) -> None:
    """Every pixel goes to the colour of least squared distance, as an exhaustive search says."""
    colours = palette.colours_bgr().astype(int)
    distance = ((frame.astype(int)[:, :, None] - colours) ** 2).sum(axis=-1)
    expected = colours[distance.argmin(axis=-1)]
    np.testing.assert_array_equal(palette.nearest_colours(frame), expected)
    np.testing.assert_array_equal(palette.nearest_colours(frame), expected)  # now from the table


@pytest.mark.parametrize("count", [2, 12, 29])
def test_tables_give_what_arithmetic_gives(count: int) -> None:
    """Class and flags of any colour are those of a full search, also on the second lookup."""
    rng = np.random.default_rng(count)
    palette = CITYSCAPES.colours_bgr()[:count]
    between = (palette[rng.integers(count, size=(50_000, 2))].mean(axis=1)).astype(int)
    near = palette[rng.integers(count, size=100_000)] + rng.integers(-34, 35, (100_000, 3))
    some = rng.integers(0, 256, (100_000, 3))
    colours = np.concatenate([between + rng.integers(-2, 3, between.shape), near, some])
    colours = colours.clip(0, 255)
    offset = colours[:, np.newaxis] - palette.astype(int)  # (M, N, 3)
    nearest = (offset**2).sum(axis=-1).argmin(axis=-1)
    offset = offset[np.arange(len(offset)), nearest]
    lut = ColorLut(np.arange(count, dtype=np.uint8), palette)
    for _ in range(2):
        entries = lut.lookup(colours.astype(np.uint8)[np.newaxis])[0]
        assert np.array_equal(entries & CLASS_BITS, nearest)
        assert np.array_equal((entries & NEAR) != 0, np.abs(offset).max(axis=-1) <= NEAR_LEVELS)
        distance = np.abs(offset @ YCBCR_OF_BGR.astype(float)).max(axis=-1)
        clear = np.abs(distance - CONFIDENT_LEVELS) > 1e-3  # float32 decides what lies on the limit
        confident = (entries & CONFIDENT) != 0
        assert np.array_equal(confident[clear], (distance <= CONFIDENT_LEVELS)[clear])


def test_noise_is_removed_and_palette_colours_stay() -> None:
    """Colours of the palette stay; the same colours a few levels off come back."""
    clean = CITYSCAPES.colours_bgr()[np.arange(29).reshape(1, 29)]
    noise = np.random.default_rng(0).integers(-3, 4, clean.shape)
    noisy = np.clip(clean.astype(int) + noise, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(CITYSCAPES.nearest_colours(clean), clean)
    np.testing.assert_array_equal(CITYSCAPES.nearest_colours(noisy), clean)


def test_ids_and_colours_are_inverse() -> None:
    """Class ids painted as colours are read back as the same ids."""
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(CAMVID.to_ids(CAMVID.to_colours(ids)), ids)


def test_fault_22_id_outside_the_palette_is_named() -> None:
    """An id without a class is an error with the id and the ids that exist."""
    with pytest.raises(ContractError, match=r"label id 12 .* ids 0-11"):
        CAMVID.to_colours(np.array([[3, 12]], np.uint8))


def test_coverage_counts_pixels_near_a_colour() -> None:
    """Half of the pixels far from any colour make a coverage of one half."""
    frame = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert PAIR.coverage(frame) == 0.5
    assert PAIR.coverage(frame, levels=255) == 1.0


def test_palette_file_round_trip(tmp_path: Path) -> None:
    """A palette written as JSON is read back equal."""
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(PAIR.to_json()))
    assert load_palette(str(file)) == PAIR
    assert load_palette("camvid") == CAMVID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"name": "x", "classes": ["a"]}',
        '{"name": "x", "classes": ["a"], "colours_rgb": [[1, 2]]}',
        '{"name": "x", "classes": ["a"], "colours_rgb": [[1, 2, 256]]}',
        '{"name": "x", "classes": ["a", "b"], "colours_rgb": [[1, 2, 3]]}',
        '{"name": "x", "classes": ["a", "b"], "colours_rgb": [[1, 2, 3], [1, 2, 3]]}',
    ],
)
def test_malformed_palette_file_is_one_line_with_its_name(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with a palette file, the error names it."""
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.json"):
        load_palette(str(file))
