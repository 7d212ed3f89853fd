"""What training and the device alike do to the pictures of files before anything sees them."""

from __future__ import annotations

import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FULL_16_BIT", "LARGEST_PIXELS", "InputSide", "Levels", "exif_orientation", "header_size",
    "is_damaged_jpeg", "on_white", "to_8_bit", "upright",
]  # fmt: skip

InputSide = Literal["left", "right"]
"""The half of a pair side by side that is the input."""

Levels = tuple[int, int]
"""The 16-bit levels that become 0 and 255; those beyond become the same."""

FULL_16_BIT: Levels = (0, 65_535)
"""Levels of a picture that uses all 16 bits."""

LARGEST_PIXELS = 80_000_000
"""Maximum number of pixels of a picture, by its header, in training and on the device."""

ORIENTATION_TAG = 0x0112

JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of the JPEG segments that give a size: ITU-T T.81, table B.1."""


def exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 (upright) to 8, that EXIF data asks for; 1 if it is damaged."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if tag == ORIENTATION_TAG:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # the data ends before its table does
        return 1
    return 1


def header_size(start: bytes) -> tuple[int, int] | None:
    """Return the upright (width, height) that the first bytes of a PNG or JPEG file give.

    It is None where they do not, and for other formats.
    """
    if start.startswith(b"\x89PNG") and len(start) >= 24 and b"eXIf" not in start:
        width, height = struct.unpack_from(">II", start, 16)
        return width, height
    at, orientation = 2, 1
    while start.startswith(b"\xff\xd8") and start[at : at + 1] == b"\xff" and at + 9 <= len(start):
        marker, length = struct.unpack_from(">BH", start, at + 1)
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", start, at + 5)
            return (width, height) if orientation < 5 else (height, width)
        if (segment := start[at + 4 : at + 2 + length]).startswith(b"Exif"):
            orientation = exif_orientation(segment)
        at += 2 + length
    return None


def is_damaged_jpeg(content: bytes) -> bool:
    """Tell whether a JPEG file lacks a part of its compressed data, or holds a wrong one.

    FFmpeg checks it, in half of the time that decoding takes; Pillow and OpenCV fill what is
    missing with grey and report nothing. Of 60 photos it finds all that lack their middle third, 59
    that are zero there, and 35 with 200 random bytes; some wrong data is a picture, too. What is no
    JPEG is not damaged.
    """
    if not content.startswith(b"\xff\xd8"):
        return False
    import av  # not needed by those who have their pictures in arrays

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode", "max_pixels": str(LARGEST_PIXELS)}
    try:
        frames = decoder.decode(av.Packet(content))
    except av.error.InvalidDataError:
        return True
    except av.error.FFmpegError:  # of a kind that FFmpeg does not decode, arithmetic coding for one
        return False
    return any(frame.is_corrupt for frame in frames)


def on_white(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture with opacity, (H, W, 4) uint8, as it looks on white paper: (H, W, 3) uint8.

    The order of the colours stays. So a sketch whose lines lie in its opacity is not lost.
    """
    colours, opacity = picture[..., :3].astype(np.uint16), picture[..., 3:].astype(np.uint16)
    return ((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8)


def to_8_bit(picture: NDArray[np.uint16], levels: Levels) -> NDArray[np.uint8]:
    """Scale a 16-bit picture of any shape to uint8, so that ``levels`` become 0 and 255."""
    black, white = levels
    span = white - black
    above_black = np.clip(picture, black, white).astype(np.uint32) - black
    return ((above_black * 255 + span // 2) // span).astype(np.uint8)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return pixels, (H, W) or (H, W, C), turned and mirrored as an EXIF orientation (1-8) says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
