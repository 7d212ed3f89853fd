"""Content of the inputs: colours, class ids or pictures, detected or set by flags."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2p_runtime.errors import ConfigError, DatasetError
from p2p_runtime.labels.ids import own_ids
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_train.config import DataConfig
from p2p_train.data.decode import read_ids, read_input
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts.images import ImageRef, Pair, open_image
from toy_pairs import SIDE_PX, draw_pair, write_folders

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"
CAMVID_CLIP = REAL_DATA / "camvid_clip"
CITYSCAPES_PAIRS = REAL_DATA / "cityscapes_pairs"


def config(data: Path, **settings: object) -> DataConfig:
    """Return settings for the pairs in ``data``."""
    return DataConfig(folder=str(data), **settings)  # type: ignore[arg-type]


def ids_of(index: int) -> np.ndarray:
    """Return made-up class ids, (H, W) uint8, 0-11."""
    blocks = np.random.default_rng(index).integers(0, 12, (4, 4)).astype(np.uint8)
    return np.kron(blocks, np.ones((SIDE_PX // 4, SIDE_PX // 4), np.uint8))


def colours_of(pair: Pair) -> np.ndarray:
    """Return the colours of a pair's ids, (H, W, 3) uint8 BGR."""
    return CAMVID.to_colours(ids_of(int(pair.input.path.stem)))


def write_ids(data: Path, count: int = 4, mode: str = "L", **replaced: np.ndarray) -> Path:
    """Write labels/ with class ids beside photos/; ``mode`` is L, P, I;16 or RGB."""
    for name in ("labels", "photos"):
        (data / name).mkdir(parents=True)
    for index in range(count):
        ids = replaced.get(f"file_{index}", ids_of(index))
        Image.fromarray(draw_pair(index)[:, :SIDE_PX]).save(data / "photos" / f"{index}.png")
        if mode == "P":
            image = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
            image.putpalette(np.array(CAMVID.colours_rgb, np.uint8).tobytes())
        elif mode == "I;16":
            image = Image.fromarray(ids.astype(np.uint16))
        else:
            image = Image.fromarray(ids).convert(mode)
        image.save(data / "labels" / f"{index}.png")
    return data


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_single_channel_inputs_are_painted_with_the_palette(tmp_path: Path, mode: str) -> None:
    """Class ids become the palette's colours, and the note says that they were ids."""
    source = open_pairs(config(write_ids(tmp_path, mode=mode), ids="camvid"))
    assert "two folders labels -> photos, 4 pairs; class ids, numbering camvid" in source.note
    for pair in (*source.pairs.train, *source.pairs.val):
        painted = read_input(pair.input, source.palette)
        np.testing.assert_array_equal(painted, colours_of(pair))


def test_ids_without_a_palette_ask_for_one(tmp_path: Path) -> None:
    """Only the user knows what id 3 means: the error lists the presets."""
    with pytest.raises(DatasetError, match="--ids cityscapes-label, cityscapes-train, carla"):
        open_pairs(config(write_ids(tmp_path)))
    for labels in ("auto", "ids"):
        with pytest.raises(DatasetError, match="--ids cityscapes-label"):
            open_pairs(config(tmp_path, labels=labels, palette="camvid"))
    with pytest.raises(ConfigError, match="class ids need a palette"):
        open_pairs(config(tmp_path, ids="own"))


def test_grey_photos_are_pictures_not_ids(tmp_path: Path) -> None:
    """Single-channel inputs with all levels, as for colourisation, stay as they are."""
    grey = np.arange(SIDE_PX * SIDE_PX, dtype=np.uint32).reshape(SIDE_PX, SIDE_PX) % 256
    files = {f"file_{index}": grey.astype(np.uint8) for index in range(4)}
    source = open_pairs(config(write_ids(tmp_path, **files)))
    assert source.palette is None
    assert not source.pairs.train[0].input.ids
    assert "taken as pictures" in source.note


def test_palette_none_keeps_single_channel_inputs_as_pictures(tmp_path: Path) -> None:
    """--palette none says that nothing is a label map, whatever it looks like."""
    source = open_pairs(config(write_ids(tmp_path), palette="none"))
    assert source.palette is None
    assert read_input(source.pairs.train[0].input, None).max() < 12


def test_labels_colour_overrules_what_it_looks_like(tmp_path: Path) -> None:
    """--labels colour reads single-channel inputs as grey pictures."""
    source = open_pairs(config(write_ids(tmp_path), palette="camvid", labels="colour"))
    assert not source.pairs.train[0].input.ids


def test_ids_stored_as_rgb_do_not_become_black(tmp_path: Path) -> None:
    """Grey RGB with tiny levels is ambiguous; --ids or --labels colour decides."""
    write_ids(tmp_path, mode="RGB")
    with pytest.raises(DatasetError, match=r"--ids .* or --labels colour"):
        open_pairs(config(tmp_path, palette="camvid"))
    source = open_pairs(config(tmp_path, palette="camvid", ids="own"))
    np.testing.assert_array_equal(read_ids(ImageRef(path=tmp_path / "labels" / "1.png")), ids_of(1))
    assert source.pairs.train[0].input.ids


def test_coloured_inputs_are_not_ids(tmp_path: Path) -> None:
    """--ids on coloured label maps is an error that names the file."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    with pytest.raises(DatasetError, match=r"00\d\.png has colours"):
        open_pairs(config(tmp_path, ids="cityscapes-train"))
    assert open_pairs(config(tmp_path)).palette == CITYSCAPES


def test_jpeg_does_not_keep_ids(tmp_path: Path) -> None:
    """A grey JPEG is refused as class ids, since its levels are not those that were saved."""
    Image.fromarray(ids_of(0)).save(tmp_path / "x.jpg")
    with pytest.raises(DatasetError, match=r"x\.jpg is a JPEG"):
        read_ids(ImageRef(path=tmp_path / "x.jpg"))


def test_fault_20_palette_png_ids_are_its_indices(tmp_path: Path) -> None:
    """Of a palette PNG whose colours mean nothing, the index is read, not an RGB level."""
    write_ids(tmp_path, mode="P")
    for file in (tmp_path / "labels").iterdir():
        with open_image(file) as image:
            image.load()
        image.putpalette(bytes(range(255, 255 - 36, -1)))
        image.save(file)
    source = open_pairs(config(tmp_path, palette="camvid", ids="own"))
    pair = source.pairs.train[0]
    painted = read_input(pair.input, source.palette)
    np.testing.assert_array_equal(painted, colours_of(pair))


def test_fault_20_palette_png_with_the_palettes_colours_is_read_by_colour(tmp_path: Path) -> None:
    """Where the PNG's own colours are the palette's, they count, and no palette need be named."""
    write_ids(tmp_path, mode="P")
    for palette in ("camvid", "auto"):
        source = open_pairs(config(tmp_path, palette=palette))
        assert source.palette == CAMVID
        assert not source.pairs.train[0].input.ids
        pair = source.pairs.train[0]
        painted = read_input(pair.input, source.palette)
        np.testing.assert_array_equal(painted, colours_of(pair))


def test_fault_20_palette_pngs_may_hold_colours_of_their_own(tmp_path: Path) -> None:
    """Colours of no preset become the palette of the run, one class for each id in use."""
    write_ids(tmp_path, mode="P")
    colours = [(20 * index, 255 - 9 * index, 7 * index) for index in range(12)]
    for file in (tmp_path / "labels").iterdir():
        with open_image(file) as image:
            image.load()
        image.putpalette(np.array(colours, np.uint8).tobytes())
        image.save(file)
    source = open_pairs(config(tmp_path))
    assert source.palette is not None
    assert source.palette.colours_rgb == tuple(colours)
    assert source.palette.classes[3] == "class 3"
    assert "colours inside the palette PNGs" in source.note


def test_fault_22_id_outside_the_palette(tmp_path: Path) -> None:
    """An id without a colour is an error with the id, the file and how many such files."""
    outside = ids_of(9)
    outside[5, 7] = 77
    write_ids(tmp_path, count=6, file_1=outside, file_3=outside)
    with pytest.raises(DatasetError) as caught:
        open_pairs(config(tmp_path, ids="camvid"))
    message = str(caught.value)
    assert message.startswith("2 of 6 label maps do not fit")
    assert "id 77 is not one of camvid" in message
    assert "1.png" in message


def test_fault_22_wide_ids_do_not_wrap_around(tmp_path: Path) -> None:
    """Id 260 in a 16-bit file is outside, not class 4."""
    wide = Image.fromarray(np.full((SIDE_PX, SIDE_PX), 260, np.uint16))
    write_ids(tmp_path)
    wide.save(tmp_path / "labels" / "2.png")
    with pytest.raises(DatasetError, match="id 260"):
        open_pairs(config(tmp_path, ids="camvid"))


def test_fault_22_a_label_map_that_changed_later_is_named(tmp_path: Path) -> None:
    """An id that appears after the check is still an error with the file, never a wrong colour."""
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(tmp_path / "late.png")
    with pytest.raises(DatasetError, match=r"late\.png: id 99"):
        read_input(ImageRef(path=tmp_path / "late.png", ids=own_ids(CAMVID)), CAMVID)


def test_a_palette_file_names_classes_for_ids(tmp_path: Path) -> None:
    """A JSON palette gives ids their colours, in the order of the file."""
    own = {"name": "own", "classes": ["a", "b"], "colours_rgb": [[1, 2, 3], [250, 0, 9]]}
    (tmp_path / "own.json").write_text(json.dumps(own))
    half = (np.arange(SIDE_PX * SIDE_PX).reshape(SIDE_PX, SIDE_PX) % 2).astype(np.uint8)
    data = write_ids(tmp_path / "data", count=2, file_0=half, file_1=half)
    source = open_pairs(config(data, palette=str(tmp_path / "own.json"), ids="own"))
    painted = read_input(source.pairs.train[0].input, source.palette)
    assert painted[0, :2].tolist() == [[3, 2, 1], [9, 0, 250]]


@pytest.mark.skipif(not CAMVID_CLIP.is_dir(), reason="the real CamVid clip is not here")
def test_auto_recognises_real_camvid_colours(tmp_path: Path) -> None:
    """Real CamVid label maps in colours are recognised, and are not taken for Cityscapes."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "photos").symlink_to(CAMVID_CLIP / "photos")
    for file in sorted((CAMVID_CLIP / "labels").iterdir())[::10]:
        painted = CAMVID.to_colours(read_ids(ImageRef(path=file)).astype(np.uint8))
        Image.fromarray(painted[..., ::-1]).save(tmp_path / "labels" / file.name)
    source = open_pairs(config(tmp_path, allow_missing=True))
    assert source.palette == CAMVID


@pytest.mark.skipif(not CAMVID_CLIP.is_dir(), reason="the real CamVid clip is not here")
def test_real_camvid_ids_are_found_beside_videos_and_a_palette_strip() -> None:
    """The clip's two folders are found among its other files; its ids are recognised."""
    source = open_pairs(config(CAMVID_CLIP, ids="camvid"))
    assert "two folders labels -> photos, 101 pairs; class ids" in source.note
    recognised = open_pairs(config(CAMVID_CLIP))
    assert (recognised.palette, recognised.pairs) == (source.palette, source.pairs)
    assert "recognised" in recognised.note


@pytest.mark.skipif(not CITYSCAPES_PAIRS.is_dir(), reason="the real Cityscapes pairs are not here")
def test_auto_recognises_real_cityscapes_pairs() -> None:
    """JPEG label halves are recognised by their blurred colours."""
    source = open_pairs(config(CITYSCAPES_PAIRS))
    assert source.palette == CITYSCAPES
    assert "side-by-side images, 3225 pairs; palette cityscapes recognised" in source.note
