"""Finding side-by-side pairs, and the errors when files are missing or broken."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from commands import p2p_train
from p2p_runtime.errors import DatasetError
from p2p_train.config import DataConfig
from p2p_train.data.decode import read_image
from p2p_train.data.layouts.images import ImageRef
from p2p_train.data.layouts.index import find_pairs
from toy_pairs import draw_pair, write_pairs


def test_halves_go_where_input_side_says(data: Path) -> None:
    """With the right half as input, the left half is the target, and the other way round."""
    for side, other in (("right", "left"), ("left", "right")):
        pair = find_pairs(DataConfig(folder=str(data), input_side=side)).train[0]
        assert (pair.input.part, pair.target.part) == (side, other)
    drawn = draw_pair(0)[..., ::-1]
    np.testing.assert_array_equal(read_image(pair.input), drawn[:, :32])
    np.testing.assert_array_equal(read_image(pair.target), drawn[:, 32:])


def test_val_folder_is_used_when_there_is_one(data: Path) -> None:
    """Pairs in val/ are the validation pairs; none of train/ is taken away."""
    index = find_pairs(DataConfig(folder=str(data)))
    assert (len(index.train), len(index.val)) == (10, 3)


def test_split_without_val_folder_is_seeded_and_disjoint(tmp_path: Path) -> None:
    """One pair in ten is kept for validation: the same for a seed, another for another."""
    write_pairs(tmp_path, 40)
    first, again, other = (
        find_pairs(DataConfig(folder=str(tmp_path), seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.val != other.val
    assert len(first.val) == 4
    assert not set(first.val) & set(first.train)


def test_fingerprint_notices_another_file(data: Path) -> None:
    """One more pair changes the fingerprint, so that a resumed run can refuse it."""
    before = find_pairs(DataConfig(folder=str(data))).fingerprint
    write_pairs(data / "train", 1, first=50)
    assert find_pairs(DataConfig(folder=str(data))).fingerprint != before


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_fault_17_a_truncated_picture_is_named(tmp_path: Path, suffix: str) -> None:
    """Half a file is an error that names it, never a half-grey image."""
    write_pairs(tmp_path, 1, suffix=suffix)
    file = tmp_path / f"000{suffix}"
    file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(DatasetError, match=rf"000\{suffix}"):
        read_image(ImageRef(path=file))


def test_fault_18_bad_files_are_found_before_training(data: Path) -> None:
    """Empty files and text named .png are all found at the start, named and counted."""
    (data / "train" / "empty.png").touch()
    for index in range(4):
        (data / "train" / f"text{index}.png").write_text("not a picture")
    with pytest.raises(DatasetError) as caught:
        find_pairs(DataConfig(folder=str(data)))
    message = str(caught.value)
    assert "empty.png is empty" in message
    assert "text0.png is not an image" in message
    assert "2 more" in message


def test_fault_142_postscript_named_png_is_refused_and_not_executed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow hands EPS to Ghostscript; --inspect refuses the file by name, in one line."""
    (data / "train" / "bad.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 32\n%%EndComments\nshowpage\n%%EOF\n"
    )
    started = data / "started"
    ghostscript = data / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {started}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # it was looked for before
    refused = p2p_train("--inspect --data", data, exit_code=2)
    assert "bad.png is not an image (JPEG, PNG, BMP, WEBP, TIFF)" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not started.exists()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file: length, kind, content, checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def test_fault_19_decompression_bomb_is_refused_from_its_header(data: Path) -> None:
    """A PNG of 60000x60000 pixels by its header is refused before any of them is allocated."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", bytes(20))
    (data / "train" / "bomb.png").write_bytes(bomb)
    with pytest.raises(DatasetError, match=r"bomb\.png is refused"):
        find_pairs(DataConfig(folder=str(data)))


def test_fault_19_our_own_limit_is_below_pillows(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image over the megapixel limit is refused even if Pillow would read it."""
    monkeypatch.setattr("p2p_train.data.layouts.images.LARGEST_PIXELS", 1000)
    with pytest.raises(DatasetError, match="megapixels"):
        find_pairs(DataConfig(folder=str(data)))


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "no images", "loop"])
def test_fault_23_folder_that_holds_no_data(tmp_path: Path, kind: str) -> None:
    """A missing, empty or circular folder is one clear error that names it."""
    folder = tmp_path / "data"
    if kind == "file":
        folder.touch()
    elif kind == "loop":
        folder.symlink_to(folder)
    elif kind != "missing":
        folder.mkdir()
    if kind == "no images":
        (folder / "notes.txt").touch()
    with pytest.raises(DatasetError, match=str(folder)):
        find_pairs(DataConfig(folder=str(folder)))


def test_fault_23_dangling_link_is_named(data: Path) -> None:
    """A link to a file that is gone is named like any other bad file."""
    (data / "train" / "gone.png").symlink_to(data / "nowhere.png")
    with pytest.raises(DatasetError, match=r"gone\.png"):
        find_pairs(DataConfig(folder=str(data)))


def test_odd_width_has_no_halves(data: Path) -> None:
    """An image of odd width cannot be two halves, and is named."""
    Image.new("RGB", (63, 32)).save(data / "train" / "odd.png")
    with pytest.raises(DatasetError, match=r"odd\.png is 63 px wide"):
        find_pairs(DataConfig(folder=str(data)))


def test_fault_21_every_mode_becomes_eight_bit_bgr(tmp_path: Path) -> None:
    """Grey, palette, RGBA, CMYK and 16-bit pictures come out as (H, W, 3) uint8."""
    colour = Image.new("RGB", (4, 2), (200, 100, 50))
    for mode in ("L", "P", "RGBA"):
        colour.convert(mode).save(tmp_path / f"{mode}.png")
    colour.convert("CMYK").save(tmp_path / "CMYK.jpg")
    Image.fromarray(np.full((2, 4), 0x8000, np.uint16)).save(tmp_path / "I16.png")
    for file in tmp_path.iterdir():
        image = read_image(ImageRef(path=file))
        assert (image.shape, image.dtype) == ((2, 4, 3), np.uint8), file.name
    assert read_image(ImageRef(path=tmp_path / "RGBA.png"))[0, 0].tolist() == [50, 100, 200]
    assert read_image(ImageRef(path=tmp_path / "I16.png"))[0, 0].tolist() == [128, 128, 128]


def test_fault_21_exif_rotation_is_applied(tmp_path: Path) -> None:
    """A photo stored sideways is decoded upright, as every viewer shows it."""
    image = Image.new("RGB", (64, 32))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(ImageRef(path=tmp_path / "turned.jpg")).shape == (64, 32, 3)
