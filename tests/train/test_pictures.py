"""Pictures as people have them: turned, damaged, transparent, or with sixteen bits a level."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from p2p_runtime.errors import ContractError, DatasetError, SourceError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.pictures import FULL_16_BIT, is_damaged_jpeg, on_white, to_8_bit
from p2p_runtime.video.sources.images import PictureSource
from p2p_train.config import DataConfig, TrainConfig
from p2p_train.data.decode import read_image, read_input, read_pair
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts import images
from p2p_train.data.layouts.images import ImageRef
from p2p_train.data.layouts.index import find_pairs
from p2p_train.data.prepare import prepare_data


def photo(height: int = 40, width: int = 64, seed: int = 0) -> Image.Image:
    """Return a smooth made-up photo, so that JPEG and WebP keep it nearly as it is."""
    levels = np.random.default_rng(seed).integers(0, 255, (5, 8, 3)).astype(np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)


def turned_file(kind: str, orientation: int, image: Image.Image) -> bytes:
    """Return a picture file whose EXIF tag asks the viewer to rotate it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [image.resize((16, 10))]} if kind == "MPO" else {}
    lossless = {"lossless": True} if kind == "WEBP" else {}
    image.save(buffer, kind.removesuffix(" late"), exif=exif, **more, **lossless)
    content = buffer.getvalue()
    if kind != "PNG late":
        return content
    start = content.index(b"eXIf") - 4  # the tag's chunk goes behind the pixels
    stop = start + 12 + int.from_bytes(content[start : start + 4], "big")
    end = content.index(b"IEND") - 4
    return content[:start] + content[stop:end] + content[start:stop] + content[end:]


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP", "PNG"])
def test_fault_90_turned_photos_lie_as_their_labels_and_as_on_the_device(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    """The EXIF tag counts in every format, in the check of shapes and when decoding."""
    content = turned_file(kind, orientation, photo())
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    height, width = expected.shape[:2]
    assert (height > width) == (orientation >= 5)
    for folder in ("labels", "photos"):
        (tmp_path / folder).mkdir()
    for stem in ("1", "2"):
        suffix = {"JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "PNG": ".png"}[kind]
        (tmp_path / "photos" / f"{stem}{suffix}").write_bytes(content)
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(
            tmp_path / "labels" / f"{stem}.png"
        )
    pair = find_pairs(DataConfig(folder=str(tmp_path))).train[0]
    (device,) = PictureSource([pair.target.path])
    np.testing.assert_array_equal(device.picture, expected)
    assert np.abs(read_image(pair.target).astype(int) - expected).max() <= 3  # two decoders


@pytest.mark.parametrize("kind", ["PNG late", "TIFF"])
def test_fault_90_a_tag_behind_the_pixels_counts_and_tiff_is_upright_once_opened(
    tmp_path: Path, kind: str
) -> None:
    """The size in the header is the upright one."""
    file = tmp_path / "x.png"
    file.write_bytes(turned_file(kind, 6, photo()))
    with Image.open(file) as image:  # noqa: TID251  # TIFF need not be admitted
        size = image.size
        turned = images.orientation(image)
    assert (size, turned) == (((64, 40), 6) if kind == "PNG late" else ((40, 64), 1))


@pytest.mark.parametrize("damage", [b"", b"\0\x01", b"\0\x01\x01\x12\0\x03\0\0\0\x01\0\x4d\0\0"])
def test_fault_90_a_damaged_tag_is_ignored(tmp_path: Path, damage: bytes) -> None:
    """OpenCV on the device ignores it, too."""
    file = tmp_path / "x.png"
    photo().save(file, exif=b"Exif\0\0MM\0*\0\0\0\x08" + damage)
    assert read_image(ImageRef(path=file)).shape == (40, 64, 3)


def damaged(content: bytes, how: str) -> bytes:
    """Return a JPEG file that is damaged in its middle and ends as it should."""
    third = len(content) // 3
    if how == "cut out":
        return content[:third] + content[2 * third :]
    if how == "zeroed":
        return content[:third] + bytes(third) + content[2 * third :]
    return content[:third] + b"\xff" * 64 + content[third + 64 :]


def jpeg(kind: str) -> bytes:
    """Return a JPEG file of a photo with some noise."""
    noise = np.random.default_rng(1).integers(-9, 9, (128, 128, 3))
    image = Image.fromarray((np.asarray(photo(128, 128)) + noise).clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    if kind == "grey":
        image = image.convert("L")
    image.save(buffer, "JPEG", progressive=kind == "progressive", quality=80)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["cut out", "zeroed", "overwritten"])
@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_fault_150_a_jpeg_without_its_middle_is_refused_by_name(
    tmp_path: Path, kind: str, how: str
) -> None:
    """Pillow fills what is missing and reports nothing."""
    whole = jpeg(kind)
    file = tmp_path / "hit.jpg"
    file.write_bytes(whole)
    assert read_image(ImageRef(path=file)).shape == (128, 128, 3)
    hit = tmp_path / "hit2.jpg"
    hit.write_bytes(damaged(whole, how))
    with pytest.raises(DatasetError, match=r"hit2\.jpg"):
        read_image(ImageRef(path=hit))
    with pytest.raises(SourceError, match=r"hit2\.jpg"):
        PictureSource([hit])


@pytest.mark.parametrize("kind", ["colour", "grey", "progressive"])
def test_fault_95_whole_jpegs_pass_the_check_and_cut_ones_do_not(kind: str) -> None:
    """The check gives no false alarm; it is the same for training and the device."""
    assert not is_damaged_jpeg(jpeg(kind))
    assert not is_damaged_jpeg(jpeg(kind) + b"a phone's own data")
    assert is_damaged_jpeg(damaged(jpeg(kind), "cut out")) or kind == "progressive"
    assert not is_damaged_jpeg(b"no JPEG")


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
def test_fault_88_lines_in_the_opacity_are_drawn_on_white(tmp_path: Path, kind: str) -> None:
    """Dropping the opacity leaves one black picture; labels have no class there."""
    lines = np.zeros((16, 16), np.uint8)
    lines[4:6] = 255
    lines[8] = 128
    if kind == "P":
        image = Image.fromarray(np.where(lines == 255, 7, 9).astype(np.uint8))
        image.putpalette([level // 3 for level in range(768)])
        image.save(tmp_path / "x.png", transparency=9)
    else:
        black = Image.fromarray(np.zeros_like(lines))
        bands = [black] * (len(kind) - 1) + [Image.fromarray(lines)]
        Image.merge(kind, bands).save(tmp_path / "x.png")
    seen = read_image(ImageRef(path=tmp_path / "x.png"))
    assert seen[0, 0].tolist() == [255] * 3
    assert seen[5, 5].max() <= 7
    if kind != "P":
        assert seen[8, 5].tolist() == [127] * 3
    (device,) = PictureSource([tmp_path / "x.png"])
    np.testing.assert_array_equal(device.picture, seen)
    with pytest.raises(DatasetError, match="transparent"):  # a label map has no class there
        read_input(ImageRef(path=tmp_path / "x.png"), CITYSCAPES)


def test_fault_88_a_transparent_grey_level_is_refused_where_opencv_drops_it(tmp_path: Path) -> None:
    """Training would see white there, the device the grey level."""
    Image.new("L", (8, 8), 9).save(tmp_path / "x.png", transparency=9)
    assert read_image(ImageRef(path=tmp_path / "x.png")).min() == 255
    with pytest.raises(SourceError, match="transparent"):
        PictureSource([tmp_path / "x.png"])


def test_opaque_pictures_stay_as_they_are() -> None:
    """Opacity of 255 changes nothing, bit for bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4)).astype(np.uint8)
    pixels[..., 3] = 255
    np.testing.assert_array_equal(on_white(pixels), pixels[..., :3])


def test_full_range_of_16_bits_becomes_8() -> None:
    """One factor for all, and no level wraps around."""
    levels = np.array([0, 128, 129, 65535, 32896], np.uint16)
    assert to_8_bit(levels, FULL_16_BIT).tolist() == [0, 0, 1, 255, 128]
    assert to_8_bit(np.array([0, 4000, 9000], np.uint16), (0, 8000)).tolist() == [0, 128, 255]
    assert to_8_bit(np.array([9, 10, 12], np.uint16), (10, 11)).tolist() == [0, 0, 255]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_transparent_half_of_a_pair_with_labels_is_refused(tmp_path: Path, side: str) -> None:
    """One decoded file gives two halves; both are asked."""
    for index in range(2):
        pixels = np.full((32, 64, 4), 255, np.uint8)
        pixels[:4, 0 if side == "left" else 63, 3] = 0
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    pair = find_pairs(DataConfig(folder=str(tmp_path))).train[0]
    with pytest.raises(DatasetError, match="transparent"):
        read_pair(pair, CITYSCAPES)
    assert read_pair(pair, None)[0].shape == (32, 32, 3)


def depth(low: int, high: int, seed: int, channels: int = 1) -> np.ndarray:
    """Return (H, W) or (H, W, 3) uint16 with levels from ``low`` to ``high``; some unmeasured."""
    ramp = np.linspace(low, high, 32 * 32).astype(np.uint16).reshape(32, 32)
    ramp[1, : 1 + seed], ramp[2, :2] = 0, 65535
    return np.repeat(ramp[..., None], 3, axis=2) if channels == 3 else ramp


def write_depth(folder: Path, side: str, low: int, high: int, channels: int = 1) -> DataConfig:
    """Write three pairs of which one side has 16 bits."""
    for name in ("input", "target"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            file = folder / name / f"{index}.png"
            if name == side:
                pixels = depth(low, high - 1000 * index, index, channels)
                file.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
            else:
                photo(32, 32, index).save(file)
    return DataConfig(folder=str(folder), palette="none", image_size=(32, 32))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", ["input", "target"])
@pytest.mark.parametrize(("low", "high"), [(300, 8000), (7000, 11000), (2000, 16383)])
def test_fault_89_depth_and_thermal_pictures_keep_their_levels(
    tmp_path: Path, side: str, low: int, high: int, channels: int
) -> None:
    """The set's own range becomes 256 levels, by one factor for all of its pictures."""
    pairs = open_pairs(write_depth(tmp_path, side, low, high, channels)).pairs
    for pair in (*pairs.train, *pairs.val):
        ref = getattr(pair, side)
        assert ref.levels == (low, high)
        assert len(np.unique(read_image(ref))) > 100
        assert getattr(pair, "target" if side == "input" else "input").levels == FULL_16_BIT
        # Unmeasured pixels are black and white; the others are on one scale.
        seen = read_image(ref)[..., 0]
        stored = cv2.imread(str(ref.path), cv2.IMREAD_UNCHANGED).reshape(32, 32, -1)[..., 0]  # noqa: TID251
        measured = np.clip((stored.astype(float) - low) / (high - low), 0, 1) * 255
        assert np.abs(seen - measured).max() <= 0.51
        (device,) = PictureSource([ref.path], levels=ref.levels)
        np.testing.assert_array_equal(device.picture, read_image(ref))


def test_fault_89_the_factor_is_in_the_contract(tmp_path: Path) -> None:
    """The device divides by the same."""
    config = write_depth(tmp_path, "input", 300, 8000)
    found = prepare_data(TrainConfig.of(data=config.folder, palette="none", image_size=(32, 32)))
    assert found.contract.levels_16_bit == (300, 8000)
    assert PixelContract.from_json(found.contract.to_json()) == found.contract
    with pytest.raises(ContractError, match="levels_16_bit"):
        PixelContract.from_json({**found.contract.to_json(), "levels_16_bit": [5, 5]})


def test_fault_89_photos_of_16_bits_keep_their_scale(tmp_path: Path) -> None:
    """What uses more than half of the range is not stretched."""
    pairs = open_pairs(write_depth(tmp_path, "target", 20, 60000)).pairs
    assert pairs.train[0].target.levels == FULL_16_BIT


@pytest.mark.parametrize("mode", ["I", "F"])
def test_fault_89_pictures_of_32_bits_are_refused(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows their black and white."""
    monkeypatch.setattr(images, "FORMATS", (*images.FORMATS, "TIFF"))
    Image.new(mode, (8, 8), 5).save(tmp_path / "x.tiff")
    with pytest.raises(DatasetError, match="32 bits"):
        read_image(ImageRef(path=tmp_path / "x.tiff"))
