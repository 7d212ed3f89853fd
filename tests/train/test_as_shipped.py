"""Data sets as they ship: folders, names and kinds of files that others chose."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from commands import p2p_train
from p2p_runtime.errors import DatasetError
from p2p_train.config import DataConfig, TrainConfig
from p2p_train.data.decode import read_image
from p2p_train.data.inspection import write_inspection
from p2p_train.data.layouts.images import ImageRef, open_image
from p2p_train.data.layouts.index import PairIndex, find_pairs
from p2p_train.data.prepare import prepare_data
from p2p_train.data.suspicions import suspicions_of
from toy_pairs import SIDE_PX, draw_pair, write_folders, write_pairs

EDGES, PHOTO = "edges", "photo"


def find(data: Path, **options: object) -> PairIndex:
    """Find pairs with the usual side and seed."""
    return find_pairs(DataConfig(folder=str(data), **options))  # type: ignore[arg-type]


def write_named(data: Path, source: str, target: str, count: int = 4, suffix: str = ".png") -> None:
    """Write pairs under patterns of file names with ``{}`` for the number, RGB."""
    for index in range(count):
        pair = draw_pair(index)
        for pattern, half in ((source, pair[:, SIDE_PX:]), (target, pair[:, :SIDE_PX])):
            file = data / (pattern.format(index) + suffix)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(half).save(file)


def write_cityscapes(data: Path, kinds: tuple[str, ...] = ("color",)) -> None:
    """Write Cityscapes' own tree: two cities to train with, one to validate."""
    for part, city in (("train", "aachen"), ("train", "bochum"), ("val", "munster")):
        name = f"{part}/{city}/{city}_{{0:06d}}_000019"
        for kind in kinds:
            write_named(data, f"gtFine/{name}_gtFine_{kind}", f"leftImg8bit/{name}_leftImg8bit", 3)
        polygons = data / f"gtFine/{part}/{city}/{city}_000000_000019_gtFine_polygons.json"
        polygons.write_text("{}")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("train_A/{}", "train_B/{}"),
        ("train_label/{}", "train_img/{}"),
        ("Train/labels/{}", "Train/photos/{}"),
        ("labels/{}_label", "photos/{}_photo"),
        ("label/{}_color", "image/{}"),
        ("masks/{}_mask", "images/{}"),
        ("labels/street-{}-labels", "photos/street-{}"),
        ("labels/label_{}", "photos/photo_{}"),
        ("train/semantic/town1/{:06d}", "train/rgb/town1/{:06d}"),
        ("labels/aachen/x{}_gtFine_color", "photos/x{}_leftImg8bit"),
    ],
)
def test_fault_121_folders_and_names_of_others_are_matched(
    tmp_path: Path, source: str, target: str
) -> None:
    """Underscores, capitals, nested folders and suffixes that one side has alone."""
    write_named(tmp_path, source, target)
    found = find(tmp_path)
    assert len(found.train) + len(found.val) == 4
    files = {(pair.input.path, pair.target.path) for pair in (*found.train, *found.val)}
    numbered = ((source.format(index), target.format(index)) for index in range(4))
    assert files == {(tmp_path / f"{one}.png", tmp_path / f"{two}.png") for one, two in numbered}
    assert not found.left_out


@pytest.mark.parametrize("part", ["val", "valid", "Validation", "test", "TEST"])
@pytest.mark.parametrize("beside", [True, False])
def test_fault_121_a_held_out_part_has_many_names(tmp_path: Path, part: str, beside: bool) -> None:
    """The other part is the validation part; a test part that stands in for it is told."""
    for name, count in (("train", 5), (part, 2)):
        if beside:
            write_pairs(tmp_path / name, count)
        else:
            write_folders(tmp_path / f"{name}A", tmp_path / f"{name}B", count)
    found = find(tmp_path)
    assert (len(found.train), len(found.val)) == (5, 2)
    assert ("the test part is the validation part" in found.roles) == (part.lower() == "test")


def test_fault_121_a_test_part_beside_a_validation_part_is_counted(tmp_path: Path) -> None:
    """It is not used, and said to be left out."""
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        write_folders(tmp_path / f"{part}A", tmp_path / f"{part}B", count)
    assert find(tmp_path).left_out == "6 images"


@pytest.mark.parametrize("kind", ["color", "labelIds", "labelTrainIds"])
def test_fault_121_cityscapes_own_tree_is_read(tmp_path: Path, kind: str) -> None:
    """Of the pictures beside each other, --labels decides; all else is counted."""
    write_cityscapes(tmp_path, ("color", "labelIds", "labelTrainIds"))
    ids = {"labelIds": "cityscapes-label", "labelTrainIds": "cityscapes-train"}
    found = find(tmp_path, ids=ids.get(kind))
    assert (len(found.train), len(found.val)) == (6, 3)
    assert {pair.input.path.stem.rsplit("_", 1)[1] for pair in found.train} == {kind}
    for pair in (*found.train, *found.val):
        assert pair.input.path.name.split("_")[:3] == pair.target.path.name.split("_")[:3]
    assert found.left_out == "18 images, 3 .json"
    assert found.direction == "gtFine to leftImg8bit"


def test_fault_121_cityscapes_without_the_kind_asked_for_is_refused(tmp_path: Path) -> None:
    """A tree with labelIds alone does not train on them as colours."""
    write_cityscapes(tmp_path, ("labelIds",))
    with pytest.raises(DatasetError, match=r"no \*_color\.png .*cityscapes-label takes"):
        find(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".jfif", ".tif", ".TIFF", ".webp", ".bmp", ".mix"])
def test_fault_121_kinds_of_pictures_mix(tmp_path: Path, suffix: str) -> None:
    """Any kind that is read pairs with any other."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 4)
    for index, file in enumerate(sorted((tmp_path / "photos").iterdir())):
        own = (".jpg", ".tif", ".webp", ".bmp")[index] if suffix == ".mix" else suffix
        with open_image(file) as image:
            image.save(file.with_suffix(own), format="JPEG" if own == ".jfif" else None)
        file.unlink()
    found = find(tmp_path)
    assert len(found.train) + len(found.val) == 4
    assert read_image(found.train[0].target).shape == (SIDE_PX, SIDE_PX, 3)


def _float_tiff(file: Path) -> None:
    Image.fromarray(np.ones((32, 32), np.float32)).save(file)


def _wide_tiff(file: Path) -> None:
    Image.fromarray(np.ones((32, 32), np.int32)).save(file)


def _two_pages(file: Path) -> None:
    page = Image.new("RGB", (32, 32))
    page.save(file, save_all=True, append_images=[page])


@pytest.mark.parametrize(
    ("write", "why"),
    [(_float_tiff, "32 bits"), (_wide_tiff, "32 bits"), (_two_pages, "2 pages")],
)
def test_fault_121_a_tiff_that_is_no_picture_is_refused(
    tmp_path: Path, write: Callable[[Path], None], why: str
) -> None:
    """Measurements and stacks of pages are named, not cut to what a picture can hold."""
    write_folders(tmp_path / "labels", tmp_path / "photos", 3)
    (tmp_path / "photos" / "000.png").unlink()
    write(tmp_path / "photos" / "000.tif")
    with pytest.raises(DatasetError, match=rf"000\.tif has {why}"):
        find(tmp_path)


@pytest.mark.parametrize("colour", [True, False])
def test_fault_121_tiff_keeps_its_pixels(tmp_path: Path, colour: bool) -> None:
    """Grey and colour, compressed or not, read as the PNG of the same pixels does."""
    pixels = draw_pair(0)[..., : 3 if colour else 1].squeeze()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw")
    read = [read_image(ImageRef(path=tmp_path / name)) for name in ("a.png", "a.tif")]
    np.testing.assert_array_equal(*read)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("facades.zip",), r"1 \.zip; unpack archives"),
        (("train/pairs.tar.gz",), r"1 \.gz; unpack archives"),
        (("pairs.csv",), r"1 \.csv; pairs are found by the names of images"),
        (("a.npy", "b.npy"), r"2 \.npy; convert pictures of other kinds to PNG"),
        (("a.heic", "b.avif", "c.heic"), r"2 \.heic, 1 \.avif; convert"),
    ],
)
def test_fault_121_other_files_alone_are_named_with_what_to_do(
    tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    """No images: the message counts what there is instead."""
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DatasetError, match=said):
        find(tmp_path)


def test_fault_121_an_archive_as_data_is_to_be_unpacked(tmp_path: Path) -> None:
    """--data FILE.zip is a file, which is not the same as missing."""
    (tmp_path / "facades.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="is no folder; unpack"):
        find(tmp_path / "facades.zip")


@pytest.mark.parametrize("patterns", [("A_{}", "B_{}"), ("{}_label", "{}_photo"), ("{}-A", "{}-B")])
def test_fault_121_both_of_a_pair_in_one_folder_get_advice(
    tmp_path: Path, patterns: tuple[str, str]
) -> None:
    """They are not cut in the middle."""
    write_named(tmp_path, *patterns)
    with pytest.raises(DatasetError, match=r"come in twos.*into two folders"):
        find(tmp_path)


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"a b\nc.png", b"\xff" * 200 + b".png", "straße ü.png".encode()]
)
def test_fault_122_any_file_name_has_a_fingerprint(
    tmp_path: Path, name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Names that are no UTF-8, or have line ends, are read; they are told once, escaped."""
    for part, count in (("train", 3), ("val", 1)):
        write_pairs(tmp_path / part, count)
    before = find(tmp_path).fingerprint
    shutil.copy(tmp_path / "train" / "000.png", os.fsencode(tmp_path / "train") + b"/" + name)
    with caplog.at_level(logging.INFO, "p2p_train"):
        found = find(tmp_path)
    assert len(found.train) == 4
    assert found.fingerprint != before
    told = [line for line in caplog.messages if "cannot be printed" in line]
    assert len(told) == (b"\xff" in name or b"\xe9" in name or b"\n" in name)
    assert all(line.isprintable() for line in told)
    os.fsencode(found.fingerprint).decode("ascii")
    p2p_train("--inspect --data", tmp_path, "--run-dir", tmp_path / "out")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _socket, _device])
@pytest.mark.parametrize("folder", ["train", "labels"])
def test_fault_134_what_is_no_file_is_left_out_and_counted(
    tmp_path: Path, make: Callable[[Path], None], folder: str
) -> None:
    """A FIFO, a socket or a device with a picture's name is never opened, so nothing hangs."""
    if folder == "train":
        write_pairs(tmp_path / folder, 4)
    else:
        write_folders(tmp_path / "labels", tmp_path / "photos", 4)
    make(tmp_path / folder / "zz.png")
    found = find(tmp_path)
    assert len(found.train) + len(found.val) == 4
    assert found.left_out == "1 that are no regular files"


def test_fault_134_a_folder_named_as_a_picture_is_no_picture(tmp_path: Path) -> None:
    """Nor is a link to a folder followed; that is counted."""
    write_pairs(tmp_path / "train", 4)
    (tmp_path / "train" / "x.png").mkdir()
    (tmp_path / "train" / "y.png").symlink_to(tmp_path)
    assert find(tmp_path).left_out == "1 links to folders"


def picture(kind: str, seed: int, side: int = 64) -> np.ndarray:
    """Draw a smooth noisy photo, or dark lines on paper; (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    if kind == EDGES:
        paper = np.full((side, side, 3), 255, np.uint8)
        for x, y in rng.integers(8, side - 8, (3, 2)).tolist():
            cv2.circle(paper, (x, y), 7, (0, 0, 0), 1)
        return paper
    coarse = rng.integers(0, 255, (5, 5, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-9, 9, smooth.shape), 0, 255).astype(np.uint8)


def write_set(data: Path, join: Callable[[int], np.ndarray], count: int = 8) -> Path:
    """Write pictures that ``join`` makes of a seed."""
    for index in range(count):
        Image.fromarray(join(index)).save(data / f"{index}.png")
    return data


@pytest.mark.parametrize(
    ("join", "said"),
    [
        (lambda i: picture(PHOTO, i), "plain pictures rather than pairs"),
        (lambda i: picture(PHOTO, i)[:48], "plain pictures rather than pairs"),
        (lambda i: np.vstack([picture(PHOTO, i), picture(PHOTO, i + 99)]), "one above the other"),
        (
            lambda i: np.hstack([picture(PHOTO, i + step) for step in (0, 99, 199)]),
            "three pictures side by side",
        ),
        (lambda i: np.hstack([picture(EDGES, i), picture(PHOTO, i)]), "try --input-side left"),
        (lambda i: np.hstack([picture(PHOTO, i), picture(EDGES, i)]), None),
        (lambda i: np.hstack([picture(PHOTO, i), picture(PHOTO, i + 99)]), None),
    ],
    ids=["photo", "wide", "stacked", "threefold", "edges-first", "edges-last", "photos"],
)
def test_fault_92_pairs_that_look_wrong_are_suspicious_at_every_start(
    tmp_path: Path,
    join: Callable[[int], np.ndarray],
    said: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Plain, stacked and threefold pictures and swapped halves are told; right pairs are not."""
    data = write_set(tmp_path, join)
    config = TrainConfig.of(data=str(data), image_size=(32, 32), palette="none")
    with caplog.at_level(logging.INFO, "p2p_train"):
        prepared = prepare_data(config)
    told = [line for line in caplog.messages if line.startswith("suspicious")]
    assert prepared.palette_note.startswith("input: right half, target: left half")
    assert len(told) == (said is not None)
    assert said is None or said in told[0]
    report = " ".join(write_inspection(config.data, tmp_path / "out").split())
    assert "input: right half, target: left half" in report
    assert said is None or said in report


@pytest.mark.parametrize("width", [1, 40])
@pytest.mark.parametrize("side", ["inputs", "targets", "neither"])
def test_pictures_that_show_nothing_are_suspicious(tmp_path: Path, side: str, width: int) -> None:
    """Black inputs or targets teach nothing; pictures of one column are looked at, too."""
    for name in ("inputs", "targets"):
        (tmp_path / name[:-1]).mkdir()
        write_set(
            tmp_path / name[:-1],
            lambda index, blank=name == side: picture(PHOTO, index)[:, :width] * (not blank),
        )
    told = [line for line in suspicions_of(find(tmp_path)) if line.startswith(f"the {side} show")]
    assert len(told) == (side != "neither")


def test_training_pairs_that_validate_are_told(tmp_path: Path) -> None:
    """A validation pair that is a training pair, by any name, is named with its twin."""
    for part, first in (("train", 0), ("val", 100)):
        (tmp_path / part).mkdir()
        write_set(
            tmp_path / part,
            lambda index, first=first: np.hstack(
                [picture(PHOTO, first + index), picture(EDGES, first + index)]
            ),
        )
    for number in (0, 2):
        (tmp_path / f"val/twin{number}.png").write_bytes(
            (tmp_path / f"train/{number}.png").read_bytes()
        )
    (told,) = suspicions_of(find(tmp_path))
    assert f"{tmp_path}/val/twin0.png validates what {tmp_path}/train/0.png teaches" in told


def test_fault_92_swapped_folders_get_the_flags(tmp_path: Path) -> None:
    """Label maps as targets, in folders of their own."""
    for name, kind in (("input", PHOTO), ("target", EDGES)):
        (tmp_path / name).mkdir()
        write_set(tmp_path / name, lambda index, kind=kind: picture(kind, index))
    assert "--input-dir target --target-dir input" in suspicions_of(find(tmp_path))[0]


def test_fault_92_real_pairs_are_suspicious_the_wrong_way_round_only(
    shared_data: Callable[[str], Path],
) -> None:
    """JPEG label halves as targets are told; as inputs they are what they should be."""
    folder = shared_data("cityscapes_pairs")
    assert suspicions_of(find(folder)) == []
    assert "--input-side right" in suspicions_of(find(folder, input_side="left"))[0]
