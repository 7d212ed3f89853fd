"""Palettes: the classes of a label map and their colours, with two presets.

:class:`Palette` converts between colours and class indices by the nearest colour. Label maps that a
codec blurred need more than that, see :mod:`.repair`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.documents import ASSETS, parse_json, read_file, read_json
from p2p_runtime.errors import ConfigError, ContractError

from .color_lut import CLASS_BITS, NEAR, NEAR_LEVELS, ColorLut, paint, paint_lut

__all__ = ["CAMVID", "CITYSCAPES", "PRESETS", "Palette", "load_palette"]

MAX_BYTES = 1_000_000
"""Maximum size of a palette file."""

FORM = (
    'a palette file is JSON like {"name": "mine", "classes": ["road", "sky"], "colours_rgb": '
    "[[128, 64, 128], [70, 130, 180]]}, or a PNG with the colours side by side"
)

MAX_CLASSES = 255
"""Maximum number of classes: indices are uint8, and 255 stands for no class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """The classes of a label map and their colours.

    Attributes:
        name: for people, for example ``cityscapes``.
        classes: the name of each class; its index is the place in this tuple.
        colours_rgb: (red, green, blue) of each class, each 0-255, no two alike.
    """

    name: str
    classes: tuple[str, ...]
    colours_rgb: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        count, name = len(self.classes), f"palette {self.name!r}"
        if not 1 <= count <= MAX_CLASSES:
            raise ContractError(f"{name} has {count} classes; 1 to {MAX_CLASSES} work")
        if count != len(self.colours_rgb):
            raise ContractError(
                f"{name} has {count} class names but {len(self.colours_rgb)} colours"
            )
        for colour in self.colours_rgb:
            if len(colour) != 3 or any(not 0 <= level <= 255 for level in colour):
                raise ContractError(
                    f"{name}: {list(colour)} is not a colour; "
                    "write three numbers 0-255 (red, green, blue)"
                )
        if len(set(self.colours_rgb)) != count:
            raise ContractError(f"{name} gives two classes the same colour")

    def colours_bgr(self) -> NDArray[np.uint8]:
        """Return the colours as (classes, 3) uint8 BGR, in class order."""
        return np.array(self.colours_rgb, np.uint8)[:, ::-1].copy()

    def to_ids(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class of each pixel's nearest colour: (H, W) uint8 from (H, W, 3) uint8 BGR.

        The least squared distance in RGB decides, the first class on a tie.
        """
        return (_lut(self).lookup(frame) & CLASS_BITS).astype(np.uint8)

    def to_colours(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class indices (H, W) uint8 as colours, (H, W, 3) uint8 BGR.

        Raises:
            ContractError: an index is not a class of this palette.
        """
        if ids.size and int(ids.max()) >= len(self.classes):
            raise ContractError(
                f"label id {int(ids.max())} is outside palette {self.name!r}, "
                f"which has ids 0-{len(self.classes) - 1}"
            )
        return self.paint(ids)

    def paint(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Do what :meth:`to_colours` does without its check: what is no class becomes black."""
        return paint(_paint_lut(self), ids)

    def nearest_colours(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return each pixel's nearest colour: (H, W, 3) uint8 BGR in, the same out."""
        return self.paint(self.to_ids(frame))

    def coverage(self, frame: NDArray[np.uint8], levels: int = NEAR_LEVELS) -> float:
        """Return the share (0-1) of pixels within ``levels`` of their nearest colour."""
        if levels == NEAR_LEVELS:
            return float(((_lut(self).lookup(frame) & NEAR) != 0).mean())
        distance = np.abs(frame.astype(np.int16) - self.nearest_colours(frame).astype(np.int16))
        return float((distance.max(axis=-1) <= levels).mean())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values for :meth:`from_json`."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "colours_rgb": [list(colour) for colour in self.colours_rgb],
        }

    @classmethod
    def from_json(cls, document: Any) -> Palette:
        """Return the palette of what :meth:`to_json` returned, or raise a ContractError."""
        if not isinstance(document, dict):
            raise ContractError("palette: not a JSON object")
        for field in ("classes", "colours_rgb"):
            if not isinstance(document.get(field), list):
                raise ContractError(f"palette: field {field!r} is missing, or no list")
        for colour in document["colours_rgb"]:
            if not isinstance(colour, list) or {type(level) for level in colour} != {int}:
                raise ContractError(
                    f"palette: {colour!s:.40} is not a colour; write three whole numbers 0-255 "
                    "(red, green, blue)"
                )
        return cls(
            name=str(document.get("name", "own")),
            classes=tuple(str(name) for name in document["classes"]),
            colours_rgb=tuple(tuple(colour) for colour in document["colours_rgb"]),
        )


@lru_cache(maxsize=4)
def _lut(palette: Palette) -> ColorLut:
    return ColorLut(np.arange(len(palette.classes), dtype=np.uint8), palette.colours_bgr())


@lru_cache(maxsize=4)
def _paint_lut(palette: Palette) -> NDArray[np.float32]:
    return paint_lut(palette.colours_bgr())


def load_palette(name_or_file: str) -> Palette:
    """Return a preset by name, or read a palette from a file.

    A file is JSON of what :meth:`Palette.to_json` returns, or a PNG with a strip of the colours in
    class order; its classes get a preset's names if all of its colours are a preset's.

    Raises:
        ConfigError: there is no such preset or file, or it is no palette.
    """
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]
    path = Path(name_or_file)
    if not path.is_file():
        raise ConfigError(
            f"palette {name_or_file!r} is neither a preset ({', '.join(PRESETS)}) nor a file"
        )
    try:
        content = read_file(path, MAX_BYTES)
        if content.startswith(b"\x89PNG"):
            return _read_strip(path.stem, content)
        return Palette.from_json(parse_json(content))
    except ContractError as error:
        raise ConfigError(f"palette file {path}: {error}; {FORM}") from error


def _read_strip(name: str, content: bytes) -> Palette:
    """Return the palette of a PNG: one pixel a class, or fields of equal pixels side by side."""
    strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if strip is None:
        raise ContractError("the PNG is damaged")
    thin, wide = min(strip.shape[:2]) == 1, strip.shape[1] >= strip.shape[0]
    middle = strip[len(strip) // 2] if wide else strip[:, strip.shape[1] // 2]
    line: list[tuple[int, int, int]] = [(int(r), int(g), int(b)) for b, g, r in middle]
    while len(line) > 1 and line[-1] == line[-2]:  # tables of 256 colours end in a filling
        line.pop()
    if not thin:
        line = [line[0], *(colour for before, colour in pairwise(line) if colour != before)]
    known = next((one for one in PRESETS.values() if {*line} <= {*one.colours_rgb}), None)
    names = dict(zip(known.colours_rgb, known.classes, strict=True)) if known else {}
    classes = tuple(names.get(colour, f"class {index}") for index, colour in enumerate(line))
    return Palette(name=name, classes=classes, colours_rgb=tuple(line))


PRESETS = {
    document["name"]: Palette.from_json(document)
    for document in read_json(ASSETS / "palettes.json", list)
}
CITYSCAPES, CAMVID = PRESETS["cityscapes"], PRESETS["camvid"]
