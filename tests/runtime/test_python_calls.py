"""What the Python API may be given: arrays, pictures of Pillow, class ids; all else is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_ids import NAMES, numbered, street

from p2p_runtime import ConfigError, ContractError, Translator
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.translate import discover

COLOURS = CITYSCAPES.to_colours(street())


@pytest.fixture(scope="module")
def translate() -> Iterator[Translator]:
    """Return the bundled model."""
    with Translator.load(discover.DEMO_MODELS, device="cpu") as translator:
        yield translator


def test_fault_91_a_picture_may_come_in_any_order_or_from_pillow(translate: Translator) -> None:
    """BGR, RGB and pictures of Pillow of one street give one photo."""
    photo = translate(COLOURS)
    rgb = COLOURS[..., ::-1]
    given = Image.fromarray(np.ascontiguousarray(rgb))
    assert np.array_equal(translate(rgb, rgb=True), photo)
    for mode in ("RGB", "RGBA"):
        assert np.array_equal(translate(given.convert(mode)), photo)
    indexed = given.quantize(32, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    assert np.array_equal(translate(indexed), photo)


@pytest.mark.parametrize("name", NAMES)
def test_fault_91_class_ids_are_named(translate: Translator, name: str) -> None:
    """Ids in an array, with 16 bits, or in a picture of Pillow, give what the colours give."""
    ids, photo = numbered(name, street()), translate(COLOURS)
    picture = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    picture.putpalette(list(range(256)) * 3)
    for frame in (ids, ids.astype(np.uint16), Image.fromarray(ids), picture):
        assert np.array_equal(translate(frame, ids=name), photo)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ("label.png", "is a name, not a picture; read it first"),
        (Path("label.png"), "is a name, not a picture"),
        (b"\x89PNG", "is a name, not a picture"),
        (None, "not NoneType"),
        ([[1, 2], [3, 4]], "not list"),
        (street(), "name a numbering, for example ids='cityscapes-train'"),
        (np.dstack([street()] * 3), "name a numbering"),
        (COLOURS[..., ::-1], "in the order RGB; give rgb=True"),
        (COLOURS.astype(np.float32), r"uint8 BGR, this one is .* float32; levels of 0-1 become"),
        (np.dstack([COLOURS, COLOURS]), "must be .height, width, 3. uint8 BGR"),
        (np.dstack([COLOURS, street()]), r"opacity out: frame\[..., :3\]"),
        (COLOURS.transpose(2, 0, 1), r"give frame.transpose\(1, 2, 0\)"),
        (COLOURS[None], "give one frame at a time"),
        (COLOURS[:0], "it is empty: was the picture read"),
        (np.array([]), "it is empty"),
        (street()[0], "must be .height, width, 3. uint8 BGR"),
        (COLOURS.tolist(), "must be a NumPy array .*, not list"),
        (Image.new("LA", (8, 8)), "has mode LA, not RGB, RGBA, P; convert it to RGB or"),
        (Image.new("L", (8, 8)), "has mode L, .*name a numbering"),
        (Image.new("F", (8, 8)), "has mode F, not RGB"),
    ],
)
def test_fault_91_anything_else_is_a_clear_error(
    translate: Translator, frame: Any, message: str
) -> None:
    """Names, RGB taken for BGR, ids without a numbering, other types: what to give is said."""
    with pytest.raises(ContractError, match=message):
        translate(frame)


@pytest.mark.parametrize(
    "ids",
    [
        street().astype(np.float32),
        street() == 3,
        street().astype(np.int64) - 255,
        street().astype(np.int64) << 40,
        street()[:0],
        street()[0],
        street()[None, ..., None],
        np.dstack([street()] * 5),
        Image.new("F", (8, 8)),
        Image.new("1", (8, 8)),
    ],
)
def test_fault_91_ids_that_are_no_ids_are_a_clear_error(translate: Translator, ids: Any) -> None:
    """Floats, truth values, numbers out of range and odd shapes are answered in words."""
    with pytest.raises(ContractError, match=r"whole numbers of 0-65535 in \(height, width\)"):
        translate(ids, ids="cityscapes-label")


def test_ids_that_do_not_fit_are_an_error(translate: Translator) -> None:
    """An unknown numbering, an unknown id, and colours where ids are named."""
    with pytest.raises(ConfigError, match="numbering 'citiscapes' is unknown"):
        translate(street(), ids="citiscapes")
    with pytest.raises(ConfigError, match="ids is True, not the name of a numbering; choose"):
        translate(street(), ids=True)
    with pytest.raises(ContractError, match="id 200 is not one of camvid"):
        translate(np.full((8, 8), 200, np.uint8), ids="camvid")
    with pytest.raises(ContractError, match="holds colours, not class ids"):
        translate(COLOURS, ids="camvid")


def test_without_a_name_the_newest_export_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    """Else the bundled model; a folder is searched as the command does."""
    monkeypatch.chdir(tmp_path)
    with Translator.load(device="cpu") as translator:
        assert translator.bundle is not None
        assert translator.bundle.path.parent == discover.DEMO_MODELS
    export = tmp_path / "runs" / "a" / "export"
    export.mkdir(parents=True)
    (export / "model-fp32.onnx").write_bytes(bundle.read_bytes())
    with Translator.load(device="cpu") as translator:
        assert translator.bundle is not None
        assert translator.bundle.path.resolve() == export / "model-fp32.onnx"
