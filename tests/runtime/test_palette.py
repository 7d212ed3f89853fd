"""Label colours: presets, nearest colours, round trips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
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


FORMS = {
    "hex": '{"classes": ["a"], "colours_rgb": ["#804080"]}',
    "floats": '{"classes": ["a", "b"], "colours_rgb": [[0.5, 0.25, 0.5], [0.0, 0.0, 0.0]]}',
    "wholes as floats": '{"classes": ["a"], "colours_rgb": [[128.0, 64.0, 128.0]]}',
    "truth": '{"classes": ["a"], "colours_rgb": [[true, false, true]]}',
    "a list": "[[128, 64, 128], [70, 130, 180]]",
    "names to colours": '{"road": [128, 64, 128]}',
    "one word": '{"classes": "road", "colours_rgb": [[1, 2, 3]]}',
    "nothing": "null",
    "an empty file": "",
    "half of one": "{",
    "no colours": '{"classes": ["a"]}',
    "two channels": '{"classes": ["a"], "colours_rgb": [[1, 2]]}',
    "a level above 255": '{"classes": ["a"], "colours_rgb": [[1, 2, 256]]}',
    "too few colours": '{"classes": ["a", "b"], "colours_rgb": [[1, 2, 3]]}',
    "one colour twice": '{"classes": ["a", "b"], "colours_rgb": [[1, 2, 3], [1, 2, 3]]}',
    "depth": "[" * 100_000,
    "a table": "road,128,64,128\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_fault_123_other_forms_of_palettes_are_answered_in_a_sentence(
    tmp_path: Path, form: str
) -> None:
    """The answer shows what to write; no level becomes 0 or 1 in silence."""
    file = tmp_path / "mine.json"
    file.write_text(FORMS[form])
    with pytest.raises(ConfigError, match=r"mine\.json.*(\[128, 64, 128\]|three whole numbers)"):
        load_palette(str(file))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_fault_123_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    """Editors on Windows write one."""
    (tmp_path / "mine.json").write_text(json.dumps(PAIR.to_json()), encoding=encoding)
    assert load_palette(str(tmp_path / "mine.json")) == PAIR


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\nxx", b" " * 2_000_000])
def test_fault_123_other_files_are_no_palettes(tmp_path: Path, content: bytes) -> None:
    """A JPEG, a damaged PNG and a large file are named."""
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.png"):
        load_palette(str(tmp_path / "x.png"))


@pytest.mark.parametrize("fields_px", [(1, 1), (9, 9), (1, 9)])
@pytest.mark.parametrize("upright", [False, True])
def test_fault_123_a_strip_of_colours_is_a_palette(
    tmp_path: Path, fields_px: tuple[int, int], upright: bool
) -> None:
    """One pixel a class, or fields; from left to right, or from top to bottom."""
    colours = CAMVID.colours_bgr()[np.newaxis].repeat(fields_px[1], axis=0)
    strip = colours.repeat(fields_px[0], axis=1)
    cv2.imwrite(str(tmp_path / "x.png"), strip.swapaxes(0, 1) if upright else strip)  # noqa: TID251
    palette = load_palette(str(tmp_path / "x.png"))
    assert palette.colours_rgb == CAMVID.colours_rgb
    assert palette.classes == CAMVID.classes


def test_fault_123_the_real_strip_of_camvid(shared_data: Callable[[str], Path]) -> None:
    """It has 256 entries, of which the last ones are a filling."""
    palette = load_palette(str(shared_data("camvid_clip/palette_camvid11.png")))
    assert (palette.classes, palette.colours_rgb) == (CAMVID.classes, CAMVID.colours_rgb)


def test_fault_123_a_strip_of_other_colours_has_numbered_classes(tmp_path: Path) -> None:
    """Two classes of one colour are refused as ever."""
    strip = np.array([[[0, 0, 0], [1, 2, 3], [9, 9, 9]]], np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), strip)  # noqa: TID251
    assert load_palette(str(tmp_path / "x.png")).classes == ("class 0", "class 1", "class 2")
    cv2.imwrite(str(tmp_path / "x.png"), strip[:, [0, 1, 0]])  # noqa: TID251
    with pytest.raises(ConfigError, match="same colour"):
        load_palette(str(tmp_path / "x.png"))
