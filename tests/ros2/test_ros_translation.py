"""Image messages become photos: every encoding, padded rows, class ids, the same header."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_ros2.translation import Translation, pixels_of
from p2p_runtime import Translator, __version__
from p2p_runtime.errors import ConfigError, ContractError
from p2p_runtime.labels.ids import NUMBERINGS
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from ros_images import compressed_of, image_of, pixels_in
from toy_runtime import Inverter, label_frame

Image = NDArray[np.uint8]

FRAME = label_frame(3)
OPAQUE = np.dstack([FRAME, np.full(FRAME.shape[:2], 9, np.uint8)])
TAGS = np.random.default_rng(2).integers(0, 29, (16, 16), np.uint8).repeat(4, 0).repeat(3, 1)
"""Class ids of CARLA, (64, 48)."""


@pytest.fixture
def translation(contract: PixelContract) -> Translation:
    """Translates labels in colours."""
    return Translation(Translator(contract, Inverter(), repair_labels=False))


@pytest.fixture
def of_carla(contract: PixelContract) -> Translation:
    """Translates CARLA's class ids."""
    return Translation(Translator(contract, Inverter()), "carla")


def as_message(fields: object) -> SimpleNamespace:
    """Return the fields of a message as its attributes."""
    return SimpleNamespace(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("padding", [0, 1, 13])
@pytest.mark.parametrize(
    ("encoding", "pixels"), [("bgr8", FRAME), ("rgb8", FRAME[..., ::-1]), ("bgra8", OPAQUE)]
)
def test_colours_are_read_in_every_encoding(
    translation: Translation, encoding: str, pixels: Image, padding: int
) -> None:
    """The photo has the pixels that the translator makes of the frame, whatever pads the rows."""
    photo = as_message(translation.image(image_of(pixels, encoding, 1, padding)))
    np.testing.assert_array_equal(pixels_in(photo), translation.translator(FRAME))
    assert (photo.height, photo.width, photo.is_bigendian) == (48, 64, 0)


def test_the_header_is_that_of_the_labels(translation: Translation) -> None:
    """Stamp and frame_id go with the photo, since it shows the same moment."""
    for index in range(5):
        message = image_of(FRAME, index=index)
        assert translation.image(message)["header"] == message.header
    assert translation.compressed(compressed_of(FRAME))["header"] == compressed_of(FRAME).header


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "channels"), [("mono8", None), ("8UC1", None), ("bgr8", 2), ("rgb8", 0)]
)
def test_class_ids_of_carla_are_painted(
    of_carla: Translation, encoding: str, channels: int | None, padding: int
) -> None:
    """Ids come in one channel, or as CARLA's cameras have them, in red."""
    pixels = TAGS
    if channels is not None:
        pixels = np.zeros((*TAGS.shape, 3), np.uint8)
        pixels[..., channels] = TAGS
    colours = CITYSCAPES.paint(NUMBERINGS["carla"].to_classes(TAGS, CITYSCAPES))
    photo = as_message(of_carla.image(image_of(pixels, encoding, padding=padding)))
    np.testing.assert_array_equal(pixels_in(photo), of_carla.translator(colours))


def test_png_is_translated_to_png(translation: Translation, of_carla: Translation) -> None:
    """Colours, colours with opacity, and ids; the photo keeps all its pixels."""
    expected = translation.translator(FRAME)
    for pixels in (FRAME, OPAQUE):
        photo = translation.compressed(compressed_of(pixels))
        decoded = cv2.imdecode(np.frombuffer(photo["data"], np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(decoded, expected)
        assert photo["format"] == "bgr8; png compressed bgr8"
    assert of_carla.compressed(compressed_of(TAGS))["data"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"encoding": "32FC1"}, "the encoding is '32FC1'; labels must be one of bgr8, rgb8, "),
        ({"encoding": "mono8", "step": 64, "data": bytes(48 * 64)}, "name a numbering"),
        ({"step": 191}, "9216 bytes of data are no 64x48 image of bgr8 with a step of 191"),
        ({"data": bytes(9215)}, "9215 bytes of data are no 64x48 image"),
        ({"height": 0, "data": b""}, "0 bytes of data are no 64x0 image"),
        ({"width": 0}, "no 0x48 image"),
    ],
)
def test_what_is_no_label_map_is_one_clear_error(
    translation: Translation, change: dict[str, object], line: str
) -> None:
    """Another encoding, ids that nobody names, and sizes that cannot be true."""
    message = as_message(vars(image_of(FRAME)) | change)
    with pytest.raises(ContractError, match=re.escape(line)):
        translation.image(message)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda _: cv2.imencode(".jpg", FRAME)[1].tobytes(), "no PNG; JPEG alters labels"),
        (lambda content: content[:-30], "the PNG of 64x48 pixels is damaged"),
        (lambda content: content[:16] + b"\x7f" * 8 + content[24:], "is damaged or too large"),
        (lambda content: content[:9] + content[-12:], "the PNG of 0x0 pixels is damaged"),
        (lambda _: b"", "no PNG"),
    ],
)
def test_a_bad_compressed_image_is_one_clear_error(
    translation: Translation, spoil: Callable[[bytes], bytes], line: str
) -> None:
    """JPEG, a PNG that is cut off, and one that says that it is huge."""
    message = compressed_of(FRAME)
    message.data = spoil(message.data.tobytes())
    with pytest.raises(ContractError, match=line):
        translation.compressed(message)


def test_ids_are_checked_at_once(contract: PixelContract) -> None:
    """A numbering that does not exist, or that the model has no use for, fails before a frame."""
    with pytest.raises(ConfigError, match="'carlo' is unknown"):
        Translation(Translator(contract, Inverter()), "carlo")
    pictures = PixelContract(height=64, width=64, palette=None)
    with pytest.raises(ContractError, match="has no palette"):
        Translation(Translator(pictures, Inverter()), "carla")


def test_pixels_outlive_their_message() -> None:
    """A frame is read without a copy where no byte is left out."""
    message = image_of(FRAME)
    assert np.shares_memory(pixels_of(message), np.frombuffer(message.data, np.uint8))


def test_the_package_has_the_version_of_the_runtime(root: Path) -> None:
    """package.xml and setup.py say what the runtime says."""
    for name in ("package.xml", "setup.py"):
        text = (root / "ros2" / name).read_text(encoding="utf-8")
        assert re.findall(r"<version>(.+)</version>|version=\"(.+)\"", text)
        assert __version__ in text
