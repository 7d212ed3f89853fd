"""Pictures on disk: references, listings and header checks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from PIL import Image, UnidentifiedImageError

from p2p_runtime.errors import DatasetError

__all__ = ["ImageRef", "Pair", "count_images", "images_in", "listed", "open_image", "read_sizes"]

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Formats that Pillow may decode. It knows others that are programs: EPS, for Ghostscript."""

LARGEST_PIXELS = 80_000_000
"""Maximum number of pixels of an image, by its header; Pillow itself warns above 89 megapixels."""

ORIENTATION_TAG, SIDEWAYS = 0x0112, {5, 6, 7, 8}
"""EXIF tag, and its values that swap width and height."""

SHOWN = 3
"""Number of problems that a message names; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """A picture on disk, or one half of it; ``ids`` are class ids, to be painted with a palette."""

    path: Path
    part: Literal["left", "right", "whole"] = "whole"
    ids: bool = False


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


def _is_image_name(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def _read_size(file: Path) -> tuple[int, int] | str:
    """Return (width, height), or what is wrong with the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with open_image(file) as image:
                width, height = image.size
                # Pillow would decode a whole PNG to find its EXIF tags; cameras do not write PNG.
                if image.format == "JPEG" and image.getexif().get(ORIENTATION_TAG) in SIDEWAYS:
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
