"""Which pictures pass for label maps, and which never do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from p2p_runtime.errors import DatasetError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES, PRESETS, Palette
from p2p_train.config import DataConfig
from p2p_train.data.labels import open_pairs
from p2p_train.data.palette_fit import fit_palette
from toy_pairs import SIDE_PX, draw_pair

SIZE = 64


def edges(rng: np.random.Generator) -> np.ndarray:
    """White lines on black."""
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    for _ in range(3):
        start, stop = rng.integers(0, SIZE, (2, 2)).tolist()
        cv2.line(canvas, start, stop, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def landmarks(rng: np.random.Generator) -> np.ndarray:
    """Points of a face in one colour, which is that of riders."""
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    for x, y in rng.integers(4, SIZE - 4, (20, 2)).tolist():
        cv2.circle(canvas, (x, y), 1, (255, 0, 0), cv2.FILLED)
    return canvas


def skeleton(rng: np.random.Generator) -> np.ndarray:
    """Limbs in OpenPose's colours, one of which is that of riders."""
    limbs = [(255, 0, 0), (255, 170, 0), (170, 255, 0), (0, 255, 85), (0, 170, 255), (85, 0, 255)]
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    for colour in limbs:
        start, stop = rng.integers(0, SIZE, (2, 2)).tolist()
        cv2.line(canvas, start, stop, colour, 2)
    return canvas


def night(rng: np.random.Generator) -> np.ndarray:
    """A dark street with a few lamps."""
    canvas = rng.normal((14, 14, 22), 6, (SIZE, SIZE, 3))
    for x, y in rng.integers(4, SIZE - 4, (5, 2)).tolist():
        cv2.circle(canvas, (x, y), 3, (250, 220, 150), cv2.FILLED)
    return np.asarray(cv2.GaussianBlur(canvas, (5, 5), 0).clip(0, 255), np.uint8)


def slices(rng: np.random.Generator) -> np.ndarray:
    """A grey body on black, as in a scanner."""
    canvas = np.zeros((SIZE, SIZE), np.float64)
    cv2.ellipse(canvas, (32, 32), (24, 18), 0, 0, 360, 70.0, cv2.FILLED)
    canvas += rng.normal(0, 6, canvas.shape) * (canvas > 0)
    return np.repeat(np.asarray(canvas.clip(0, 255), np.uint8)[..., None], 3, axis=2)


def lines_in_opacity(rng: np.random.Generator) -> np.ndarray:
    """Black everywhere; the lines lie in the opacity."""
    canvas = np.zeros((SIZE, SIZE, 4), np.uint8)
    canvas[..., 3] = edges(rng)[..., 0]
    return canvas


def thermal(rng: np.random.Generator) -> np.ndarray:
    """A false-colour gradient, as thermal cameras give it."""
    ramp = np.add.outer(np.arange(SIZE), np.arange(SIZE)) * 2 + rng.integers(0, 9, (SIZE, SIZE))
    coloured = cv2.applyColorMap(ramp.astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(coloured[..., ::-1], np.uint8)


def white_studio(rng: np.random.Generator) -> np.ndarray:
    """A grey background and one thing in front of it."""
    canvas = np.full((SIZE, SIZE, 3), 70, np.uint8)
    canvas[20:44, 20:44] = rng.integers(90, 130, (24, 24, 3))
    return canvas


PICTURES = [
    edges, landmarks, skeleton, night, slices, lines_in_opacity, thermal, white_studio,
]  # fmt: skip


def write_inputs(folder: Path, images: list[np.ndarray], suffix: str = ".png") -> Path:
    """Write inputs, RGB or RGBA, beside made-up photos."""
    for name in ("input", "target"):
        (folder / name).mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / "input" / f"{index}{suffix}", quality=90)
        Image.fromarray(draw_pair(index)[:, :SIDE_PX]).save(folder / "target" / f"{index}.png")
    return folder


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_fault_88_pictures_stay_pictures(tmp_path: Path, draw, suffix: str) -> None:  # type: ignore[no-untyped-def]
    """Black pixels, grey ones and one colour do not count for labels."""
    rng = np.random.default_rng(0)
    images = [draw(rng) for _ in range(4)]
    if images[0].shape[2] == 4 and suffix == ".jpg":
        pytest.skip("JPEG has no opacity")
    source = open_pairs(DataConfig(folder=str(write_inputs(tmp_path, images, suffix))))
    assert source.palette is None
    assert "pictures" in source.note


@pytest.mark.parametrize("draw", PICTURES)
@pytest.mark.parametrize("name", PRESETS)
def test_fault_88_a_palette_that_would_erase_pictures_is_refused(
    tmp_path: Path,
    draw,
    name: str,  # type: ignore[no-untyped-def]
) -> None:
    """Whoever names the palette of pictures hears it before training."""
    if draw is landmarks and name == "cityscapes":
        pytest.skip("such pictures could be maps of riders")
    images = [draw(np.random.default_rng(index)) for index in range(4)]
    data = write_inputs(tmp_path, images)
    with pytest.raises(DatasetError, match=r"no label maps .*--palette none"):
        open_pairs(DataConfig(folder=str(data), palette=name)).check_palette()


@pytest.mark.parametrize("palette", PRESETS.values(), ids=lambda palette: palette.name)
@pytest.mark.parametrize("quality", [0, 60, 90])
def test_fault_88_label_maps_are_still_recognised(palette: Palette, quality: int) -> None:
    """Also as JPEG, with a third of the pixels black, and of two classes only."""
    for classes in (2, 4, 8):
        rng = np.random.default_rng(classes)
        blocks = rng.integers(0, classes, (8, 8)).astype(np.uint8)
        ids = np.kron(blocks, np.ones((16, 16), np.uint8)) + np.uint8(1)
        ids[:40] = palette.classes.index("unlabelled")
        image = palette.to_colours(np.minimum(ids, len(palette.classes) - 1).astype(np.uint8))
        if quality:
            coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        fit = fit_palette(palette, [image])
        assert fit.near > 0.8, classes
        assert fit.recognised or quality == 60, classes
        assert not fit.refused, classes


def test_fault_88_the_other_palette_is_refused() -> None:
    """CamVid's colours are not those of Cityscapes."""
    ids = np.kron(np.arange(11, dtype=np.uint8).reshape(1, 11), np.ones((16, 8), np.uint8))
    assert fit_palette(CITYSCAPES, [CAMVID.to_colours(ids)]).refused
    assert not fit_palette(CAMVID, [CAMVID.to_colours(ids)]).refused


def test_fault_88_black_inputs_would_all_be_one_colour() -> None:
    """Neither a palette's black nor the black of a lens cap teaches anything."""
    black = np.zeros((8, 8, 3), np.uint8)
    assert "one colour" in fit_palette(CITYSCAPES, [black]).refused


@pytest.mark.parametrize("name", ["cityscapes", "auto"])
def test_fault_88_real_label_maps_are_recognised(shared_data, name: str) -> None:  # type: ignore[no-untyped-def]
    """JPEG halves of real pairs; their photos are none, by day and by night."""
    config = DataConfig(folder=str(shared_data("cityscapes_pairs")), palette=name)
    source = open_pairs(config)
    assert source.palette == CITYSCAPES
    photos = [pair.target for pair in source.pairs.train[:8]]
    from p2p_train.data.decode import read_image

    for darker in (1, 2, 6):
        images = [read_image(photo) // darker for photo in photos]
        for palette in PRESETS.values():
            fit = fit_palette(palette, images)
            assert fit.refused
            assert not fit.recognised
