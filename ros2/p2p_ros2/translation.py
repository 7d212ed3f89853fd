"""From one image message to another: labels in, a photo with the same header out.

A message is any object with the fields of ``sensor_msgs/msg/Image`` or ``CompressedImage``,
whoever made it: rclpy, DDS or a MCAP file. Nothing here needs ROS.
"""

from __future__ import annotations

from array import array
from typing import Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime import Translator
from p2p_runtime.errors import ContractError
from p2p_runtime.labels.ids import load_ids
from p2p_runtime.pictures import LARGEST_PIXELS, header_size

__all__ = ["CompressedFields", "ImageFields", "Translation", "pixels_of", "pixels_of_png"]

CHANNELS = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "mono8": 1, "8UC1": 1}
"""Bytes of a pixel in each encoding; bgra8 is what CARLA publishes."""

_PNG_END = b"IEND\xaeB`\x82"


class ImageFields(TypedDict):
    """The fields of ``sensor_msgs/msg/Image``."""

    header: Any
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: array[int]


class CompressedFields(TypedDict):
    """The fields of ``sensor_msgs/msg/CompressedImage``."""

    header: Any
    format: str
    data: array[int]


class Translation:
    """Translates messages, one after the other.

    Args:
        translator: what translates their pictures.
        ids: numbering of class ids, as ``p2p-run --ids`` takes it; None for labels in colours.

    Raises:
        ConfigError: there is no such numbering.
        ContractError: the model takes no class ids.
    """

    def __init__(self, translator: Translator, ids: str | None = None) -> None:
        self.translator, self.ids = translator, ids
        if ids is not None:
            if translator.contract.palette is None:
                raise ContractError("the model has no palette, so its inputs have no class ids")
            load_ids(ids, translator.contract.palette)

    def image(self, message: Any) -> ImageFields:
        """Translate an ``Image``; the photo is bgr8, of the same size, with the same header.

        Raises:
            ContractError: the encoding, the size or the labels are not what the model takes.
            EngineError: the device failed.
        """
        photo = self.translator(pixels_of(message), ids=self.ids)
        height, width = photo.shape[:2]
        return ImageFields(
            header=message.header,
            height=height,
            width=width,
            encoding="bgr8",
            is_bigendian=0,
            step=3 * width,
            data=array("B", photo.tobytes()),
        )

    def compressed(self, message: Any) -> CompressedFields:
        """Translate a ``CompressedImage`` that is a PNG; the photo is one, too.

        Raises:
            ContractError: it is no PNG, a damaged one, or not what the model takes.
            EngineError: the device failed.
        """
        photo = self.translator(pixels_of_png(bytes(message.data)), ids=self.ids)
        content = cv2.imencode(".png", photo)[1].tobytes()
        form = "bgr8; png compressed bgr8"
        return CompressedFields(header=message.header, format=form, data=array("B", content))


def pixels_of(message: Any) -> NDArray[np.uint8]:
    """Return the pixels of an ``Image``: (H, W, 3) uint8 BGR, or class ids (H, W) uint8.

    Bytes behind the pixels of a row are left out; the order of bytes plays no part in 8 bits.

    Raises:
        ContractError: the encoding is another one, or the data are not ``height`` rows of ``step``.
    """
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise ContractError(
            f"the encoding is {message.encoding!r}; labels must be one of {', '.join(CHANNELS)}"
        )
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if not (height and width and step >= width * channels and data.size == height * step):
        raise ContractError(
            f"{data.size} bytes of data are no {width}x{height} image of {message.encoding} "
            f"with a step of {step}"
        )
    rows = data.reshape(height, step)[:, : width * channels]
    if channels == 1:
        return np.ascontiguousarray(rows)
    pixels = rows.reshape(height, width, channels)
    return np.ascontiguousarray(
        pixels[..., 2::-1] if message.encoding == "rgb8" else pixels[..., :3]
    )


def pixels_of_png(content: bytes) -> NDArray[Any]:
    """Return the pixels of a PNG: (H, W, 3) BGR or class ids (H, W), uint8 or uint16.

    Raises:
        ContractError: it is none, damaged, or larger than any picture may be.
    """
    if not content.startswith(b"\x89PNG"):
        raise ContractError(
            "the compressed image is no PNG; JPEG alters labels, so record them as PNG or raw"
        )
    width, height = header_size(content[:64]) or (0, 0)
    whole = content.endswith(_PNG_END) and width * height <= LARGEST_PIXELS
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if pixels is None:
        raise ContractError(f"the PNG of {width}x{height} pixels is damaged or too large")
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., :3])
