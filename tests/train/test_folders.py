"""Two folders matched by name, and the errors when they do not match."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from p2p_runtime.errors import DatasetError
from p2p_train.config import DataConfig
from p2p_train.data.layouts.images import open_image
from p2p_train.data.layouts.index import PairIndex, find_pairs
from toy_pairs import write_folders, write_pairs


def find(data: Path, **options: object) -> PairIndex:
    """Find pairs with the usual side and seed."""
    return find_pairs(DataConfig(folder=str(data), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("labels", "photos"),
        ("labels", "images"),
        ("Labels", "Photos"),
        ("A", "B"),
        ("train/labels", "train/photos"),
        ("labels/train", "photos/train"),
        ("trainA", "trainB"),
    ],
)
def test_common_names_are_found(tmp_path: Path, source: str, target: str) -> None:
    """Two folders of known names are matched by stem, whichever way they are nested."""
    write_folders(tmp_path / source, tmp_path / target, 4)
    index = find(tmp_path)
    assert len(index.train) + len(index.val) == 4
    for pair in (*index.train, *index.val):
        assert pair.input.path.parent == tmp_path / source
        assert pair.target.path.parent == tmp_path / target
        assert pair.input.path.stem == pair.target.path.stem
    assert "two folders" in index.layout
    assert "4 pairs" in index.layout


def test_val_folders_are_the_validation_pairs(tmp_path: Path) -> None:
    """Nothing of the training folders is kept for validation when there are val folders."""
    for part, count in (("train", 5), ("val", 2)):
        write_folders(tmp_path / part / "labels", tmp_path / part / "photos", count)
    index = find(tmp_path)
    assert (len(index.train), len(index.val)) == (5, 2)
    assert index.direction == "labels to photos"


def test_any_names_can_be_given(tmp_path: Path) -> None:
    """--input-dir and --target-dir name folders that are not known, and may swap known ones."""
    write_folders(tmp_path / "sketch", tmp_path / "drawing", 3)
    index = find(tmp_path, input_dir="drawing", target_dir="sketch")
    assert index.train[0].input.path.parent.name == "drawing"
    assert index.direction == "drawing to sketch"


def test_unknown_names_are_never_guessed(tmp_path: Path) -> None:
    """Two folders of unknown names are an error that lists them and the flags."""
    write_folders(tmp_path / "sketch", tmp_path / "drawing", 3)
    with pytest.raises(DatasetError, match=r"drawing, sketch.*--input-dir NAME --target-dir NAME"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"input_dir": "labels"}, "go together"),
        ({"input_dir": "labels", "target_dir": "nowhere"}, "there is: labels, photos"),
        ({"input_dir": "../labels", "target_dir": "photos"}, "inside"),
    ],
)
def test_wrong_names_are_explained(tmp_path: Path, names: dict[str, str], message: str) -> None:
    """Half a pair of names, a name that is not there, or one outside the data is an error."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    with pytest.raises(DatasetError, match=message):
        find(tmp_path, **names)


def test_two_readings_ask_for_the_flag(tmp_path: Path) -> None:
    """Beside labels/ and photos/, a third folder images/ makes the target unclear."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    write_folders(tmp_path / "labels", tmp_path / "images", 3)
    with pytest.raises(DatasetError, match=r"labels -> photos or labels -> images.*--target-dir"):
        find(tmp_path)


def test_a_few_images_beside_the_folders_are_counted_many_are_refused(
    tmp_path: Path,
) -> None:
    """A palette strip beside the folders is left out and told, a data set refused."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    write_pairs(tmp_path, 1)
    found = find(tmp_path)
    assert found.layout == "two folders labels -> photos, 3 pairs"
    assert found.left_out == "1 images"
    write_pairs(tmp_path, 3)
    with pytest.raises(DatasetError, match="3 images beside them"):
        find(tmp_path)
    assert find(tmp_path, input_dir="labels", target_dir="photos").train


def test_fault_15_images_without_a_partner_are_listed_and_counted(tmp_path: Path) -> None:
    """Unpaired images of both folders are an error that names the first and counts all."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 8)
    for index in (1, 2, 3):
        (tmp_path / "photos" / f"{index:03d}.png").unlink()
    (tmp_path / "labels" / "006.png").unlink()
    with pytest.raises(DatasetError) as caught:
        find(tmp_path)
    message = str(caught.value)
    assert message.startswith("4 images without a partner: labels/001.png has none in photos")
    assert "1 more" in message
    assert "--allow-missing" in message


def test_fault_15_allow_missing_leaves_them_out_and_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With --allow-missing the whole pairs are used, and the log counts the others."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 5)
    (tmp_path / "photos" / "001.png").unlink()
    index = find(tmp_path, allow_missing=True)
    assert len(index.train) + len(index.val) == 4
    assert "left out, 1 image without a partner: labels/001.png" in caplog.text


def test_fault_15_case_and_suffix_that_hide_a_partner_are_pointed_out(tmp_path: Path) -> None:
    """Names that differ in case, or a partner of a kind that is not read, are named as such."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    photos = tmp_path / "photos"
    (photos / "000.png").rename(photos / "000.tga")
    (tmp_path / "labels" / "001.png").rename(tmp_path / "labels" / "Street.png")
    (photos / "001.png").rename(photos / "street.png")
    with pytest.raises(DatasetError) as caught:
        find(tmp_path)
    assert "000.tga is of a kind that is not read" in str(caught.value)
    assert "street.png differs in upper and lower case" in str(caught.value)


@pytest.mark.parametrize("allow_missing", [False, True])
def test_fault_15_duplicate_stems_are_refused(tmp_path: Path, allow_missing: bool) -> None:
    """000.png and 000.jpg in one folder have one partner: none of the two is picked."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "000.jpg")
    with pytest.raises(DatasetError, match=r"000\.jpg and 000\.png; keep one"):
        find(tmp_path, allow_missing=allow_missing)


def test_fault_15_other_suffixes_match_by_stem(tmp_path: Path) -> None:
    """A PNG label map and a JPEG photo of one name are a pair."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    for file in sorted((tmp_path / "photos").iterdir()):
        with open_image(file) as image:
            image.save(file.with_suffix(".jpg"))
        file.unlink()
    assert len(find(tmp_path).train) == 2


def test_fault_16_shapes_that_differ_are_refused_sizes_are_not(tmp_path: Path) -> None:
    """Half the size is fine, since both are resized; another aspect ratio names the pair."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "000.png")
    assert find(tmp_path).train
    Image.new("RGB", (64, 48)).save(tmp_path / "photos" / "001.png")
    with pytest.raises(DatasetError, match=r"001\.png is 32x32 but .*001\.png is 64x48"):
        find(tmp_path)


def test_fault_16_a_rotated_photo_is_measured_upright(tmp_path: Path) -> None:
    """A photo stored sideways with an EXIF tag matches its upright label map."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        photo = Image.new("RGB", (64, 32))
        exif = photo.getexif()
        exif[0x0112] = 6  # orientation: rotate by 90 degrees
        photo.save(tmp_path / "photos" / f"{name}.jpg", exif=exif)
        Image.new("RGB", (32, 64)).save(tmp_path / "labels" / f"{name}.png")
    assert len(find(tmp_path).train) == 1
