"""Named numberings of class ids, and what tells one from another.

A class id means nothing without its numbering: 7 is a road in Cityscapes' labelIds, a sign in its
trainIds, and a traffic light in CARLA. :class:`ClassIds` maps the ids of one numbering to the
classes of a palette by name; :class:`IdLayout` collects which ids stand where in some label maps,
so that a wrong numbering shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.documents import ASSETS, read_json
from p2p_runtime.errors import ConfigError, ContractError

from .palette import CITYSCAPES, Palette

__all__ = [
    "CITYSCAPES_KINDS", "IDS", "IGNORED", "NO_CLASS", "NUMBERINGS", "OWN", "ClassIds", "IdLayout",
    "Shares", "choices", "ids_of", "load_ids", "look_like_ids", "own_ids", "shares_of", "tags_of",
]  # fmt: skip

Shares = tuple[tuple[float, ...], ...]
"""Share (0-1) of each class in the upper, middle and lower third of label maps."""

NO_CLASS = 255
"""Class index of pixels that have no class; it is painted black."""

OWN = "own"
"""The numbering by the place in the model's own palette."""

IGNORED = (254, 255)
"""Ids by which data sets mark pixels that nobody labelled."""

CITYSCAPES_KINDS = re.compile(r"_gt(?:Fine|Coarse)_(color|labelIds|labelTrainIds|instanceIds)$")
"""What the pictures beside each other in Cityscapes' own folders hold, by their stems."""

IDS = 65536
"""Number of ids that fit into 16 bits."""

THIRDS = 3

MAX_BYTES = 100_000
"""Maximum size of a file with a numbering."""

FORM = '{"name": "mine", "classes": {"0": "road", "7": "sky"}, "ignored": [255]}'

# One name for what palettes and numberings call differently.
_SAME = {
    "roads": "road", "sidewalks": "sidewalk", "pavement": "sidewalk", "buildings": "building",
    "walls": "wall", "fences": "fence", "poles": "pole", "trafficlight": "traffic light",
    "traffic signs": "traffic sign", "sign symbol": "traffic sign", "tree": "vegetation",
    "pedestrian": "person", "pedestrians": "person", "bicyclist": "rider", "void": "unlabelled",
    "unlabeled": "unlabelled", "none": "unlabelled",
}  # fmt: skip

# What a class becomes where a palette lacks it, as SegNet grouped CamVid's 32 classes into 11, and
# as Cityscapes' own colours do: its static things are black, its licence plates those of cars.
_INSTEAD = {
    "road lines": "road", "parking": "sidewalk", "licence plate": "car", "pole group": "pole",
    "wall": "building", "bridge": "building", "tunnel": "building", "guard rail": "fence",
    "traffic light": "traffic sign", "terrain": "vegetation", "truck": "car", "bus": "car",
    "caravan": "car", "trailer": "car", "motorcycle": "rider", "bicycle": "rider",
}  # fmt: skip

_STREET = read_json(ASSETS / "street.json")["shares"]
"""Shares of Cityscapes' classes in the thirds of its maps; rarer classes are left out."""

_RARE = 5e-4
"""Least share by which a class counts as expected."""

_MARGIN = 0.7
"""Least lead, in nats a pixel, of a numbering that is recognised over every other one."""

_UNLIKELY = -3.5
"""Least mean log-likelihood, in nats a pixel, of a numbering that is recognised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassIds:
    """A numbering: which class each id stands for.

    Attributes:
        name: for people and for ``--ids``, for example ``cityscapes-train``.
        classes: (id, name of the class) of each id.
        ignored: ids of pixels that nobody labelled; they are painted as unlabelled, and no loss or
            score counts them.
    """

    name: str
    classes: tuple[tuple[int, str], ...]
    ignored: tuple[int, ...] = IGNORED

    def __post_init__(self) -> None:
        ids = [number for number, _ in self.classes]
        known = {*ids, *self.ignored}
        if not ids or len({*ids}) < len(ids) or not all(0 <= number < IDS for number in known):
            raise ContractError(
                f"numbering {self.name!r} needs classes with different ids of 0-{IDS - 1}"
            )

    def to_classes(self, ids: NDArray[np.integer], palette: Palette) -> NDArray[np.uint8]:
        """Return the palette's class of each pixel, (H, W) uint8, from class ids (H, W).

        Ignored ids, and classes for which the palette has none, become its unlabelled class, or
        :data:`NO_CLASS` if it has none.

        Raises:
            ContractError: an id is not in the numbering, or the palette has none of its classes.
        """
        table, known = _table(self, palette)
        if ids.size and (not 0 <= ids.min() <= ids.max() < IDS or not known[ids].all()):
            outside = next(
                int(one) for one in np.unique(ids) if not 0 <= one < IDS or not known[one]
            )
            raise ContractError(f"id {outside} is not one of {self.name}: {self.summary()}")
        classes: NDArray[np.uint8] = table[ids]
        return classes

    def ignored_mask(self, ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether each pixel is one that nobody labelled, shaped as ``ids``."""
        return np.isin(ids, self.ignored)

    def summary(self) -> str:
        """Return the first ids and their classes, so that a wrong numbering shows."""
        first = ", ".join(f"{number} {name}" for number, name in self.classes[:8])
        return first + (" ..." if len(self.classes) > 8 else "")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values for :meth:`from_json`."""
        classes = {str(number): name for number, name in self.classes}
        return {"name": self.name, "classes": classes, "ignored": list(self.ignored)}

    @classmethod
    def from_json(cls, document: Any) -> ClassIds:
        """Return the numbering of what :meth:`to_json` returned; ContractError if it is none."""
        classes = document.get("classes") if isinstance(document, dict) else None
        whole = isinstance(classes, dict) and all(
            key.isascii() and key.isdecimal() and len(key) <= 5 and isinstance(name, str)
            for key, name in classes.items()
        )
        ignored = document.get("ignored", list(IGNORED)) if whole else None
        if not isinstance(ignored, list) or {type(number) for number in ignored} - {int}:
            raise ContractError(f"a numbering is a JSON object like {FORM}")
        pairs = tuple(sorted((int(key), name) for key, name in document["classes"].items()))
        return cls(name=str(document.get("name", "mine")), classes=pairs, ignored=tuple(ignored))


@lru_cache(maxsize=8)
def _table(numbering: ClassIds, palette: Palette) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the class of each id, (65536,) uint8, and whether the numbering knows it."""
    places = {_one_name(name): index for index, name in reversed([*enumerate(palette.classes)])}
    if not any(_one_name(name) in places for _, name in numbering.classes):
        raise ContractError(
            f"palette {palette.name!r} has none of the classes of {numbering.name}: "
            f"{numbering.summary()}"
        )
    unlabelled = places.get("unlabelled", NO_CLASS)
    table, known = np.full(IDS, NO_CLASS, np.uint8), np.zeros(IDS, bool)
    for number in numbering.ignored:
        table[number], known[number] = unlabelled, True
    for number, name in numbering.classes:
        table[number], known[number] = _place(_one_name(name), places, unlabelled), True
    return table, known


def _one_name(name: str) -> str:
    name = name.lower().replace("_", " ").replace("-", " ")
    return _SAME.get(name, name)


def _place(name: str, places: Mapping[str, int], unlabelled: int) -> int:
    while name not in places and name in _INSTEAD:
        name = _INSTEAD[name]
    return places.get(name, unlabelled)


def own_ids(palette: Palette) -> ClassIds:
    """Return the numbering by the place in a palette."""
    classes = tuple(enumerate(palette.classes))
    ignored = tuple(number for number in IGNORED if number >= len(classes))
    return ClassIds(name=OWN, classes=classes, ignored=ignored)


def load_ids(name_or_file: str, palette: Palette) -> ClassIds:
    """Return a numbering by its name, or read one from a JSON file.

    Raises:
        ConfigError: there is no such numbering or file, or the file holds none.
    """
    if name_or_file == OWN:
        return own_ids(palette)
    if name_or_file in NUMBERINGS:
        return NUMBERINGS[name_or_file]
    path = Path(name_or_file)
    try:
        if not path.is_file():
            raise ConfigError(f"numbering {name_or_file!r} is unknown; {choices()}")
        return ClassIds.from_json(read_json(path, max_bytes=MAX_BYTES))
    except (OSError, ValueError, ContractError) as error:
        raise ConfigError(f"numbering {path}: {error}; it is JSON like {FORM}") from error


def choices() -> str:
    """Return what ``--ids`` takes, as the end of an error."""
    return f"choose with --ids {', '.join((*NUMBERINGS, OWN))} or FILE.json"


def ids_of(pixels: NDArray[Any]) -> NDArray[np.uint8 | np.uint16] | None:
    """Return the class ids (H, W) that a picture holds; None if it holds colours.

    Args:
        pixels: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16. Ids may stand in one
            channel while the others are 0, as CARLA writes them, or in all alike; opacity does not
            count.
    """
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :3]
    if (colours == colours[..., :1]).all():
        return np.ascontiguousarray(colours[..., 0])
    filled = np.flatnonzero(colours.any(axis=(0, 1)))
    return np.ascontiguousarray(colours[..., filled[0]]) if len(filled) == 1 else None


def tags_of(pixels: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return the red channel (H, W) of a picture of CARLA's instance camera; None if it is none.

    ``pixels`` are (H, W, 3) BGR or (H, W, 4) BGRA. That camera writes class ids in red, and
    which object it is in green and blue.
    """
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        return None
    tags = np.ascontiguousarray(pixels[..., 2])
    levels = np.unique(tags)
    low = len(levels) > 2 and int(levels[-1]) <= NUMBERINGS["carla"].classes[-1][0]
    return tags if low else None


def look_like_ids(pixels: NDArray[Any], *, lossy: bool = False) -> bool:
    """Tell whether a picture, shaped as for :func:`ids_of`, is in truth a map of class ids.

    It has one channel's worth of levels, more than one of them, and all are as low as ids are.
    A ``lossy`` codec has tinted and brightened some by a little.
    """
    if lossy:
        colours = pixels[::4, ::4, :3].astype(np.int16)
        if np.ptp(colours, axis=2).max() > _LOSS:
            return False
        low = colours[colours < IGNORED[0] - _IGNORED_LOSS]  # lines on black have one other level
        if not low.size or np.ptp(np.percentile(low, (10, 90))) <= _LOSS:
            return False
        return int(np.percentile(low, 99)) < _HIGHEST
    ids = ids_of(pixels)
    if ids is None:
        return False
    levels = np.unique(ids)
    levels = levels[~np.isin(levels, IGNORED)]
    return len(levels) > 1 and int(levels[-1]) < _HIGHEST


def shares_of(classes: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """Return the share of each class in the thirds of a map (H, W) of class indices, (3, count)."""
    thirds = [np.bincount(part.ravel(), minlength=256) for part in np.array_split(classes, THIRDS)]
    counts = np.array(thirds, np.float64)[:, :count]
    shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


class IdLayout:
    """Which ids stand in which third of some label maps."""

    def __init__(self) -> None:
        self._counts = np.zeros((THIRDS, IDS), np.int64)

    def add(self, ids: NDArray[np.integer]) -> None:
        """Count a map (H, W) of ids."""
        for counts, part in zip(self._counts, np.array_split(ids, THIRDS), strict=True):
            found = np.bincount(part.ravel(), minlength=1)
            counts[: len(found)] += found[:IDS]

    def likelihood(self, numbering: ClassIds, palette: Palette, expected: Shares) -> float | None:
        """Return the mean log-likelihood of the classes, in nats a pixel.

        ``expected`` are the shares of the palette's classes in label maps of the same kind. None
        if the numbering lacks an id, or does not go with the palette.
        """
        present = np.flatnonzero(self._counts.any(axis=0))
        try:
            classes = numbering.to_classes(present[None], palette)[0]
        except ContractError:
            return None
        counted = (classes != NO_CLASS) & ~numbering.ignored_mask(present)
        counts = self._counts[:, present[counted]]
        if not counts.any():
            return None
        table = np.maximum(np.array(expected), _RARE)[:, classes[counted]]  # (3, ids present)
        return float((counts * np.log(table)).sum() / counts.sum())

    def best(self, palette: Palette, expected: Shares | None = None) -> ClassIds | None:
        """Return the numbering that fits beyond doubt, or None.

        It fits if every id has a class, the classes stand where they stand in streets, and each
        other numbering, unless it paints the same, is less likely by a factor of two a pixel.
        """
        expected = expected or street_shares(palette)
        if expected is None:
            return None
        valued = [(self.likelihood(one, palette, expected), one) for one in _all(palette)]
        ranked = sorted(((v, one) for v, one in valued if v is not None), key=lambda pair: -pair[0])
        if not ranked or ranked[0][0] < _UNLIKELY:
            return None
        value, chosen = ranked[0]
        rivals = [v for v, one in ranked[1:] if not self._paint_alike(chosen, one, palette)]
        return chosen if all(value - rival >= _MARGIN for rival in rivals) else None

    def _paint_alike(self, one: ClassIds, two: ClassIds, palette: Palette) -> bool:
        present = np.flatnonzero(self._counts.any(axis=0))[None]
        return np.array_equal(one.to_classes(present, palette), two.to_classes(present, palette))


def street_shares(palette: Palette) -> Shares | None:
    """Return where a palette's classes stand in streets; None if it is not one of streets."""
    names = [_one_name(name) for name in palette.classes]
    if not {"road", "sky", "building"} <= {*names}:
        return None
    places = {name: index for index, name in reversed([*enumerate(names)])}
    shares = np.zeros((THIRDS, len(names) + 1))
    for name, thirds in _STREET.items():
        shares[:, _place(name, places, places.get("unlabelled", len(names)))] += thirds
    return tuple(tuple(map(float, third[:-1])) for third in shares)


def _all(palette: Palette) -> Iterable[ClassIds]:
    return (*NUMBERINGS.values(), own_ids(palette))


NUMBERINGS = {
    document["name"]: ClassIds.from_json(document)
    for document in read_json(ASSETS / "numberings.json", list)
}
"""The numberings that have names; ``own`` depends on the palette."""

_LOSS = 6
"""Levels by which a lossy codec alters grey."""

_IGNORED_LOSS = 64
"""Levels by which a lossy codec darkens ignored pixels beside others."""

_HIGHEST = 1 + max(len(CITYSCAPES.classes), *(one.classes[-1][0] for one in NUMBERINGS.values()))
"""Ids are below this level."""
