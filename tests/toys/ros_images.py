"""Image messages without ROS: plain objects with the fields of sensor_msgs."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["compressed_of", "header_of", "image_of", "pixels_in"]


def header_of(index: int, frame_id: str = "camera") -> SimpleNamespace:
    """Return a ``std_msgs/msg/Header`` whose stamp is told by a number."""
    stamp = SimpleNamespace(sec=1_700_000_000 + index, nanosec=(index * 33_333_333) % 10**9)
    return SimpleNamespace(stamp=stamp, frame_id=frame_id)


def image_of(
    pixels: NDArray[np.uint8], encoding: str = "bgr8", index: int = 0, padding: int = 0
) -> SimpleNamespace:
    """Return an ``Image`` of (H, W) or (H, W, C) uint8, with odd bytes behind each row."""
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        header=header_of(index),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=index % 2,
        step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


def compressed_of(pixels: NDArray[np.uint8], suffix: str = ".png") -> SimpleNamespace:
    """Return a ``CompressedImage``."""
    content = cv2.imencode(suffix, pixels)[1].tobytes()
    return SimpleNamespace(header=header_of(0), format=suffix[1:], data=array("B", content))


def pixels_in(photo: object) -> NDArray[np.uint8]:
    """Return the pixels of a bgr8 image without padding, (H, W, 3)."""
    assert (photo.encoding, photo.step) == ("bgr8", 3 * photo.width)  # type: ignore[attr-defined]
    data = np.frombuffer(photo.data, np.uint8)  # type: ignore[attr-defined]
    return data.reshape(photo.height, photo.width, 3)  # type: ignore[attr-defined]
