"""The pictures of a folder or of a glob as a source; each is checked to be complete."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import SourceError
from p2p_runtime.files import reason
from p2p_runtime.labels.ids import CITYSCAPES_KINDS
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.pictures import (
    FULL_16_BIT,
    InputSide,
    Levels,
    exif_orientation,
    header_size,
    is_damaged_jpeg,
    on_white,
    to_8_bit,
    upright,
)  # fmt: skip
from p2p_runtime.video.frames import DEFAULT_FPS, FrameTask, VideoInfo

from .tree import SUFFIXES, matches

__all__ = ["PictureSource", "in_order", "list_folder", "list_matches"]

_log = logging.getLogger(__name__)

_HEADER_BYTES = 1 << 17
"""Number of bytes that are read to learn a size; EXIF data alone may take half of them."""

_PNG_PALETTE = 3
"""Colour type of a PNG with a palette: ISO/IEC 15948, table 11.1."""


class PictureSource:
    """Pictures of at least one path, in order; those that cannot be read are named and counted.

    Of pairs side by side, ``input_side`` is the half that is meant.
    A SourceError is raised if none can be read, or if they hold no labels as :class:`LabelReader`
    expects them.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        labels: LabelReader | None = None,
        levels: Levels = FULL_16_BIT,
        fps: float = DEFAULT_FPS,
        input_side: InputSide | None = None,
    ) -> None:
        self.paths, self._labels, self._levels = paths, labels, levels
        self._side = input_side
        self.frames_lost = 0
        self._begin = 0  # the first that can be read
        while (first := self._decoded(paths[self._begin])) is None:
            self._begin += 1
            if self._begin == len(paths):
                raise SourceError(f"none of {len(paths)} pictures can be read")
        height, width = self._read(first, paths[self._begin]).shape[:2]
        self.info = VideoInfo(width=width, height=height, fps=fps, frame_count=len(paths))

    def __iter__(self) -> Iterator[FrameTask]:
        """Yield every picture that can be read."""
        for index, path in enumerate(self.paths[self._begin :]):
            if (stored := self._decoded(path)) is not None:
                picture, time_s = self._read(stored, path), index / self.info.fps
                yield FrameTask(picture=picture, index=index, timestamp_s=time_s, name=path.stem)

    def check_sizes(self, count: int | None = None) -> None:
        """Raise a SourceError unless the first ``count`` pictures, or all, have one size."""
        paths = self.paths[self._begin :][:count]
        sizes = {path: size for path in paths if (size := _size(path)) is not None}
        (first, expected), *others = sizes.items()
        for path, size in others:
            if size != expected:
                raise SourceError(
                    f"{path} is {size[0]}x{size[1]}, {first} is {expected[0]}x{expected[1]}: all "
                    "frames of a video have one size; name a folder with --output"
                )

    def _decoded(self, path: Path) -> _Stored | None:
        """Return a picture, or None if it cannot be read, which is said and counted."""
        try:
            return _decode(path, self._side)
        except SourceError as error:
            if len(self.paths) == 1:
                raise
            _log.warning("%s; going on without it", error)
            self.frames_lost += 1
            return None

    def close(self) -> None:
        """Do nothing; no file stays open."""

    def _read(self, stored: _Stored, path: Path) -> NDArray[np.uint8]:
        labels = self._labels
        if labels is None:
            return _colours(stored.pixels, self._levels)
        if stored.lossy:
            if not labels.decided or labels.wants_ids:
                labels.check_lossy(_colours(stored.pixels, self._levels), str(path))
        else:
            pixels = stored.indices() if labels.wants_ids else stored.pixels
            if (painted := labels(pixels, str(path))) is not None:
                return painted
        return _colours(stored.pixels, self._levels)


def list_folder(folder: Path) -> list[Path]:
    """Return a folder's pictures in natural order: ``frame2`` comes before ``frame10``.

    Subfolders and hidden files are left out. No picture, or two of one stem, raise a SourceError.
    """
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"cannot list {folder}: {reason(error)}") from error
    pictures = in_order(paths, f"{folder} holds no pictures ({', '.join(SUFFIXES)}) and no videos")
    if others := sorted(path.name for path in set(paths) - set(pictures)):
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        _log.info("left out of %s: %s%s", folder, ", ".join(others[:3]), more)
    return pictures


def list_matches(pattern: str) -> list[Path]:
    """Return the pictures that match a glob, as :func:`list_folder`; ``**`` searches subfolders."""
    return in_order(
        matches(pattern), f"no picture matches {pattern} ({', '.join(SUFFIXES)}), and no video"
    )


def in_order(paths: Iterable[Path], none: str = "") -> list[Path]:
    """Return the pictures among some paths in natural order; ``none`` is the error without any.

    Two of one stem, or of two kinds of Cityscapes' files, raise a SourceError.
    """
    pictures = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not pictures:
        raise SourceError(none)
    kinds = {found[1] for path in pictures if (found := CITYSCAPES_KINDS.search(path.stem))}
    if len(kinds) > 1:
        raise SourceError(
            f"{pictures[0].parent} holds the same streets as {', '.join(sorted(kinds))}; choose "
            f"with a pattern, such as '{pictures[0].parent}/*_{min(kinds)}.png'"
        )
    stems: dict[str, Path] = {}
    for path in pictures:
        if (other := stems.setdefault(path.stem, path)) is not path:
            raise SourceError(
                f"{other} and {path.name} are two pictures whose translations would have the "
                "same name"
            )
    return sorted(pictures, key=_natural)


def _colours(picture: NDArray[Any], levels: Levels) -> NDArray[np.uint8]:
    """Return a decoded picture of any kind as (H, W, 3) uint8 BGR."""
    if picture.dtype == np.uint16:
        picture = to_8_bit(picture, levels)
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
    return on_white(picture) if picture.shape[2] == 4 else picture


@dataclass(frozen=True, slots=True)
class _Stored:
    """A picture upright, or a half, with its file's channels, depth and bytes."""

    pixels: NDArray[Any]
    content: bytes
    side: InputSide | None

    @property
    def lossy(self) -> bool:
        """Whether the file keeps class ids only roughly."""
        webp = self.content[8:16] == b"WEBPVP8 "
        return webp or self.content.startswith(b"\xff\xd8")

    def indices(self) -> NDArray[Any]:
        """Return the indices of a palette PNG, for which OpenCV gives colours; else the pixels."""
        if not (self.content.startswith(b"\x89PNG") and self.content[25] == _PNG_PALETTE):
            return self.pixels
        with av.open(io.BytesIO(self.content), "r", format="png_pipe") as container:
            return _half(np.asarray(next(container.decode(video=0)).to_ndarray()[0]), self.side)


def _size(path: Path) -> tuple[int, int] | None:
    """Return a picture's (width, height); None if it cannot be read, which is told in its turn."""
    try:
        with path.open("rb") as file:
            found = header_size(file.read(_HEADER_BYTES))
        return found or (*_decode(path, None).pixels.shape[1::-1],)
    except (OSError, SourceError):
        return None


def _half(pixels: NDArray[Any], side: InputSide | None) -> NDArray[Any]:
    """Return a half of (H, W) or (H, W, C); all of it without a side."""
    middle = pixels.shape[1] // 2
    part = {"left": np.s_[:, :middle], "right": np.s_[:, middle:], None: np.s_[:, :]}[side]
    return np.ascontiguousarray(pixels[part])


def _decode(path: Path, side: InputSide | None) -> _Stored:
    """Return a picture as its file stores it."""
    try:
        content = path.read_bytes()
        # OpenCV fills the missing part of a JPEG with grey and reports no error.
        if not _is_complete(content):
            raise SourceError(f"{path} is truncated")
        if not content:
            raise SourceError(f"{path} is empty")
        if is_damaged_jpeg(content):
            raise SourceError(f"{path} is truncated or damaged: a part of the picture is missing")
        pixels = np.frombuffer(content, np.uint8)
        # IMREAD_COLOR would rotate it, but drop its transparency and half of 16 bits.
        image, kinds, metadata = cv2.imdecodeWithMetadata(pixels, flags=cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        why = "OpenCV cannot decode it" if isinstance(error, cv2.error) else reason(error)
        raise SourceError(f"cannot read {path}: {why}") from error
    if image is None:
        raise SourceError(f"{path} is not a picture that can be read")
    if image.ndim == 2 and b"tRNS" in content.partition(b"IDAT")[0]:
        raise SourceError(f"{path} has a transparent grey level; store it without, or as RGBA")
    exif = dict(zip(map(int, kinds), metadata, strict=True)).get(cv2.IMAGE_METADATA_EXIF)
    rotation = 1 if exif is None else exif_orientation(np.asarray(exif).tobytes())
    whole = upright(np.asarray(image), rotation)
    if side is not None and whole.shape[1] % 2:
        raise SourceError(f"{path} is {whole.shape[1]} px wide; two halves need an even width")
    return _Stored(_half(whole, side), content, side)


def _is_complete(content: bytes) -> bool:
    """Tell whether a picture reaches its own end mark; other formats are checked elsewhere."""
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-1024:]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return len(content) >= int.from_bytes(content[4:8], "little") + 8
    if content.startswith(b"BM"):
        return len(content) >= int.from_bytes(content[2:6], "little")
    return True


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))  # text and digits alternate
    return [(int(part), "") if part.isdecimal() else (0, part.lower()) for part in parts]
