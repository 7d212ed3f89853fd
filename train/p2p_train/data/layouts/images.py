"""Pictures on disk: references, listings and header checks."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NoReturn

from PIL import Image, ImageFile, UnidentifiedImageError

from p2p_runtime.errors import DatasetError
from p2p_runtime.labels.ids import ClassIds
from p2p_runtime.labels.palette import Palette
from p2p_runtime.pictures import FULL_16_BIT, LARGEST_PIXELS, Levels, exif_orientation

__all__ = [
    "ImageRef", "Pair", "count_images", "images_in", "is_16_bit", "left_out", "listed",
    "nested_images", "open_image", "orientation", "printable", "read_sizes",
]  # fmt: skip

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""Formats that Pillow may decode. It knows others that are programs: EPS, for Ghostscript."""

SIDEWAYS = {5, 6, 7, 8}
"""EXIF orientations that swap width and height."""

WIDE_MODES = {"F", "I"}
"""Modes of 32 bits a level, whose range only their maker knows."""

ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
LISTS = {".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".parquet"}

SHOWN = 3
"""Number of problems that a message names; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """A picture on disk, or one half of it.

    Attributes:
        ids: the numbering of the class ids that it holds, to be painted; None for colours.
        levels: of a picture of 16 bits, those that become 0 and 255.
    """

    path: Path
    part: Literal["left", "right", "whole"] = "whole"
    ids: ClassIds | None = None
    levels: Levels = FULL_16_BIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An input and the target that the generator should generate from it.

    A label map of both, and its palette, may lie beside inputs that are pictures.
    """

    input: ImageRef
    target: ImageRef
    label: ImageRef | None = None
    label_palette: Palette | None = None


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
        DatasetError: the folder cannot be read, or holds none; the message says what it holds.
    """
    try:
        files = sorted(file for file in folder.iterdir() if _is_image(file))
    except OSError as error:
        raise DatasetError(f"cannot read folder {folder}: {error.strerror}") from error
    return files or _no_images(folder)


def nested_images(folder: Path) -> list[Path]:
    """List the images in ``folder`` and the folders in it, by name; links to folders are left out.

    Raises:
        DatasetError: a folder cannot be read, or there are no images.
    """
    return sorted(file for file in _files_below(folder) if _is_image(file)) or _no_images(folder)


def count_images(folder: Path) -> int:
    """Count the images directly in ``folder``; none if it does not exist or cannot be read."""
    try:
        return sum(_is_image(file) for file in folder.iterdir())
    except OSError:
        return 0


def left_out(folder: Path, used: Collection[Path]) -> str:
    """Count what lies in ``folder`` and below but is not among ``used``: by kind, for people."""
    counts = Counter(_kind(file) for file in _files_below(folder) if file not in used)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


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
    return printable("; ".join(problems[:SHOWN]) + more)


def printable(text: str) -> str:
    """Escape line ends, and bytes of file names that are not UTF-8; no terminal writes those."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


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


def _is_image(file: Path) -> bool:
    """Tell whether a name is an image's and stands for a file; opening a FIFO would block.

    Broken links count, so that they are refused by name.
    """
    named = file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    return named and (file.is_file() or not file.exists())


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield all that is no folder, and links to folders, which may lead anywhere."""

    def refuse(error: OSError) -> None:
        raise DatasetError(f"cannot read folder {error.filename}: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in files)
        yield from (link for name in folders if (link := Path(parent, name)).is_symlink())


def _kind(file: Path) -> str:
    if not file.is_file():
        return "links to folders" if file.is_dir() else "that are no regular files"
    if _is_image(file):
        return "images"
    return "hidden" if file.name.startswith(".") else file.suffix.lower() or "without suffix"


def _no_images(folder: Path) -> NoReturn:
    found = left_out(folder, ())
    advice = ""
    suffixes = {file.suffix.lower() for file in _files_below(folder)}
    if suffixes & ARCHIVES:
        advice = "; unpack archives first"
    elif suffixes & LISTS:
        advice = "; pairs are found by the names of images, not by lists"
    elif found:
        advice = "; convert pictures of other kinds to PNG"
    there = f"; there is: {found}{advice}" if found else ""
    kinds = ", ".join(sorted(IMAGE_SUFFIXES))
    raise DatasetError(f"no images ({kinds}) in {folder}{there}")


def _unfit_tiff(image: Image.Image) -> str:
    """Return why a TIFF is no picture; most are, and some are stacks or measurements."""
    if (pages := getattr(image, "n_frames", 1)) > 1:
        return f"has {pages} pages; store one picture a file"
    if image.mode in WIDE_MODES:
        return "has 32 bits a level; store 8 or 16 bits"
    return ""


def _read_size(file: Path) -> tuple[int, int] | str:
    """Return (width, height), or what is wrong with the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with open_image(file) as image:
                width, height = image.size
                if image.format == "TIFF" and (why := _unfit_tiff(image)):
                    return f"{file} {why}"
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
