"""Pictures on disk: references, listings and header checks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from PIL import Image, ImageFile, UnidentifiedImageError

from p2p_runtime.errors import DatasetError
from p2p_runtime.labels.ids import ClassIds
from p2p_runtime.pictures import FULL_16_BIT, LARGEST_PIXELS, Levels, exif_orientation

__all__ = [
    "ImageRef", "Pair", "count_images", "images_in", "is_16_bit", "listed", "open_image",
    "orientation", "read_sizes",
]  # fmt: skip

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that Pillow may decode. It knows others that are programs: EPS, for Ghostscript."""

SIDEWAYS = {5, 6, 7, 8}
"""EXIF orientations that swap width and height."""

SHOWN = 3
"""Number of problems that a message names; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """A picture on disk, or one half of it.

    Attributes:
        path: the file.
        part: the half that is meant.
        ids: the numbering of the class ids that it holds, to be painted; None for colours.
        levels: of a picture of 16 bits, those that become 0 and 255.
    """

    path: Path
    part: Literal["left", "right", "whole"] = "whole"
    ids: ClassIds | None = None
    levels: Levels = FULL_16_BIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An input and the target that the generator should generate from it."""

    input: ImageRef
    target: ImageRef


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """Open an image of one of :data:`FORMATS`, by its content; the one place that does.

    Raises:
        UnidentifiedImageError: it is of another format.
        OSError, SyntaxError, ValueError, Image.DecompressionBombError: it is damaged or far too
            large.
    """
    return Image.open(file, formats=FORMATS)  # noqa: TID251  # limits the formats


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image of any format: 1 (upright) to 8.

    It is what OpenCV finds on the device: EXIF alone, and none where it is damaged.
    """
    if image.format == "TIFF":  # Pillow has turned it
        return 1
    if image.format == "PNG" and "exif" not in image.info and _ends_with_exif(image):
        image.load()  # of a PNG, Pillow reads no more than what precedes the pixels
    return exif_orientation(image.info.get("exif", b""))


def is_16_bit(image: Image.Image) -> bool:
    """Tell whether an opened image has 16 bits a level; Pillow would drop eight of a colour's."""
    if not isinstance(image, ImageFile.ImageFile) or image.format not in ("PNG", "TIFF"):
        return False
    return any(";16" in str(tile[3]) for tile in image.tile)


def images_in(folder: Path) -> list[Path]:
    """List the images directly in ``folder``, by name.

    Raises:
        DatasetError: the folder cannot be read, or holds none.
    """
    try:
        files = sorted(file for file in folder.iterdir() if _is_image_name(file))
    except OSError as error:
        raise DatasetError(f"cannot read folder {folder}: {error.strerror}") from error
    if not files:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(f"no images ({kinds}) in {folder}")
    return files


def count_images(folder: Path) -> int:
    """Count the images directly in ``folder``; none if it does not exist or cannot be read."""
    try:
        return sum(_is_image_name(file) for file in folder.iterdir())
    except OSError:
        return 0


def read_sizes(files: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    """Return the upright (width, height) of each image, from its header.

    Raises:
        DatasetError: files that are no images, or far too large; the message names the first
            ones and counts the others.
    """
    read = {file: _read_size(file) for file in files}
    if problems := [found for found in read.values() if isinstance(found, str)]:
        raise DatasetError(listed(problems, "such files"))
    return {file: found for file, found in read.items() if not isinstance(found, str)}


def listed(problems: Sequence[str], kind: str) -> str:
    """Join the first few problems and count the others."""
    more = f" (and {len(problems) - SHOWN} more {kind})" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


def _ends_with_exif(image: Image.Image) -> bool:
    """Tell whether a PNG holds an EXIF chunk, which some programs write behind the pixels."""
    if not isinstance(image, ImageFile.ImageFile) or image.fp is None:
        return False
    start = image.fp.tell()
    image.fp.seek(8)
    while len(head := image.fp.read(8)) == 8 and head[4:] not in (b"eXIf", b"IEND"):
        image.fp.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    image.fp.seek(start)
    return head[4:] == b"eXIf"


def _is_image_name(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def _read_size(file: Path) -> tuple[int, int] | str:
    """Return (width, height), or what is wrong with the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with open_image(file) as image:
                width, height = image.size
                if orientation(image) in SIDEWAYS:
                    width, height = height, width
    except Image.DecompressionBombError:
        return f"{file} is refused: its header gives more pixels than any photo has"
    except UnidentifiedImageError:
        if file.stat().st_size == 0:
            return f"{file} is empty"
        return f"{file} is not an image ({', '.join(FORMATS)}), whatever its name says"
    except (OSError, SyntaxError, ValueError) as error:
        return f"{file} cannot be read: {error}"
    if width * height > LARGEST_PIXELS:
        return f"{file} is refused: {width}x{height} is over {LARGEST_PIXELS // 10**6} megapixels"
    return width, height
