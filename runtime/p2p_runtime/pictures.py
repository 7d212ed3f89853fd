"""A folder of pictures as a source. Every picture is checked to be whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .errors import ContractError, SourceError
from .frames import DEFAULT_FPS, Frame, VideoInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .palette import Palette

__all__ = ["PictureFolderSource", "read_ids", "read_picture"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class PictureFolderSource:
    """The pictures of a folder in natural order: ``frame2`` comes before ``frame10``."""

    def __init__(self, folder: Path, *, ids_palette: Palette | None = None) -> None:
        """List the folder and read its first picture.

        Args:
            folder: an existing folder; its subfolders are not searched.
            ids_palette: paint the pictures' class ids with these colours.

        Raises:
            SourceError: it holds no pictures, two with the same stem, or the first is unreadable.
        """
        self._paths = _list(folder)
        self._ids_palette = ids_palette
        height, width = self._read(self._paths[0]).shape[:2]
        self._info = VideoInfo(
            width=width, height=height, fps=DEFAULT_FPS, frame_count=len(self._paths)
        )

    @property
    def info(self) -> VideoInfo:
        """Size of the first picture, and how many there are."""
        return self._info

    @property
    def frames_lost(self) -> int:
        """Always 0: an unreadable picture is an error."""
        return 0

    def __iter__(self) -> Iterator[Frame]:
        """Give every picture.

        Raises:
            SourceError: one cannot be read; the message names it.
        """
        for index, path in enumerate(self._paths):
            yield Frame(
                image=self._read(path),
                index=index,
                timestamp_s=index / self._info.fps,
                name=path.stem,
            )

    def close(self) -> None:
        """Do nothing; no file stays open."""

    def _read(self, path: Path) -> NDArray[np.uint8]:
        if self._ids_palette is None:
            return read_picture(path)
        try:
            return self._ids_palette.to_colours(read_ids(path))
        except ContractError as error:
            raise SourceError(f"{path}: {error}") from error


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 BGR; grey, 16-bit and palette pictures are converted.

    Raises:
        SourceError: it cannot be read or is truncated.
    """
    return _decode(path, cv2.IMREAD_COLOR)


def read_ids(path: Path) -> NDArray[np.uint8]:
    """Read a single-channel 8-bit picture as (H, W) uint8 class ids.

    Raises:
        SourceError: it cannot be read, is truncated, or holds colours.
    """
    ids = _decode(path, cv2.IMREAD_UNCHANGED)
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise SourceError(
            f"{path} is {ids.shape} {ids.dtype}, not single-channel 8-bit: it holds colours, not "
            "class ids; leave --labels ids out"
        )
    return ids


def _decode(path: Path, flags: int) -> NDArray[np.uint8]:
    try:
        content = path.read_bytes()
        # OpenCV turns the missing half of a JPEG grey without a word, so look for its end first.
        if not _is_whole(content):
            raise SourceError(f"{path} is truncated")
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except (OSError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or "OpenCV cannot decode it"
        raise SourceError(f"cannot read {path}: {reason}") from error
    if image is None:
        raise SourceError(f"{path} is not a picture that can be read")
    return np.asarray(image)


def _is_whole(content: bytes) -> bool:
    """Tell whether a picture reaches its own end mark; unknown formats are left to OpenCV."""
    if content.startswith(b"\xff\xd8"):
        return _jpeg_is_whole(content)
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-1024:]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return len(content) >= int.from_bytes(content[4:8], "little") + 8
    if content.startswith(b"BM"):
        return len(content) >= int.from_bytes(content[2:6], "little")
    return True


def _jpeg_is_whole(content: bytes) -> bool:
    """Look for the end mark behind the first scan; thumbnails before it have marks of their own."""
    position = 2
    while content[position : position + 1] == b"\xff":
        marker = content[position + 1 : position + 2]
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        position += 2 + length
        if marker == b"\xda":  # start of scan: compressed data, in which FF D9 cannot occur
            return content.find(b"\xff\xd9", position) >= 0
    return False


def _list(folder: Path) -> list[Path]:
    try:
        paths = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
    except OSError as error:
        raise SourceError(f"cannot list {folder}: {error.strerror}") from error
    if not paths:
        raise SourceError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    stems: dict[str, Path] = {}
    for path in paths:
        if (other := stems.setdefault(path.stem, path)) is not path:
            raise SourceError(
                f"{folder} holds {other.name} and {path.name}: "
                "their translations would have the same name"
            )
    return sorted(paths, key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)  # text and digits take turns
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in parts]
