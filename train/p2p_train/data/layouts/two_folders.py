"""Two folders, one of inputs and one of targets, matched by file name."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os.path import commonprefix
from pathlib import Path, PurePath
from typing import NamedTuple

from p2p_runtime.errors import DatasetError, count_of
from p2p_runtime.labels.ids import CITYSCAPES_KINDS

from .images import ImageRef, Pair, count_images, listed, nested_images, read_sizes

__all__ = ["KNOWN_NAMES", "SPLITS", "find_folders", "find_part", "matched_pairs"]

logger = logging.getLogger(__name__)

KNOWN_NAMES = (
    ("labels", "photos"), ("labels", "images"), ("label", "photo"), ("masks", "images"),
    ("annotations", "images"), ("label", "img"), ("label", "image"), ("mask", "image"),
    ("mask", "img"), ("semantic", "rgb"), ("seg", "rgb"), ("gtFine", "leftImg8bit"),
    ("gtCoarse", "leftImg8bit"), ("input", "target"), ("inputs", "targets"), ("A", "B"),
)  # fmt: skip
"""Recognised names of (input, target) folders, in upper or lower case."""

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the parts of a data set, in upper or lower case."""

FIRST_WORDS = re.compile(r"([^\W\d_][^-_. ]*[-_. ])+")
LAST_WORDS = re.compile(r"([-_. ][^\W\d_][^-_. ]*)+$")

ASPECT_TOLERANCE = 0.02
"""Maximum relative difference of the aspect ratios of a pair, which rounding may cause."""


class Folders(NamedTuple):
    """The folder of the inputs and the folder of the targets."""

    input: Path
    target: Path


def find_folders(
    data: Path, input_dir: str | None, target_dir: str | None
) -> dict[str, Folders] | None:
    """Find two folders of images for ``train`` and perhaps ``val`` and ``test``, or None.

    They lie in ``data`` as ``labels/``, ``train/labels/``, ``labels/train/`` or ``trainlabels/``
    (``trainA/`` of other projects). Without names, those of :data:`KNOWN_NAMES` are looked for.

    Raises:
        DatasetError: the names given are not there, or more than one reading is possible.
    """
    if input_dir is not None or target_dir is not None:
        return _named_folders(data, input_dir, target_dir)
    found = {names: parts for names in KNOWN_NAMES if (parts := _parts(data, *names))}
    if not found:
        return None
    if len(found) > 1:
        choices = " or ".join(f"{source} -> {target}" for source, target in found)
        raise DatasetError(
            f"{data} can be read as {choices}; choose with --input-dir NAME --target-dir NAME"
        )
    names, parts = found.popitem()
    _check_beside(data, names, parts)
    return parts


def find_part(data: Path, part: str) -> Path | None:
    """Return the folder of a part of the data set, by any of its names, or None."""
    return next((folder for word in SPLITS[part] if (folder := _child(data, word))), None)


def matched_pairs(folders: Folders, allow_missing: bool, kind: str = "color") -> tuple[Pair, ...]:
    """Match inputs and targets by what their names have in common; return the pairs by name.

    Names are compared without their suffix: with the folders on the way to them, without what all
    names of a folder share (``_label``, ``photo_``), by the bare name, or both of these; the first
    that matches the most files counts. Of Cityscapes' own tree, pictures of a ``kind`` are inputs.

    Raises:
        DatasetError: two files share a name, images have no partner (unless ``allow_missing``,
            then they are skipped with a warning), or the two of a pair differ in shape.
    """
    both = [_of_kind(nested_images(folder), kind) for folder in folders]
    inputs, targets = _matched(both, folders)
    lonely = _lonely(inputs, folders.target, targets) + _lonely(targets, folders.input, inputs)
    stems = sorted(inputs.keys() & targets.keys())
    names = listed(lonely, "such images")
    missing = f"{count_of(len(lonely), 'image')} without a partner"
    if lonely and (not allow_missing or not stems):
        way_out = "; --allow-missing leaves them out" if stems else ""
        raise DatasetError(f"{missing}: {names}{way_out}")
    if lonely:
        logger.warning("left out, %s: %s", missing, names)
    pairs = [(inputs[stem], targets[stem]) for stem in stems]
    _check_shapes(pairs)
    return tuple(Pair(input=ImageRef(path=one), target=ImageRef(path=two)) for one, two in pairs)


def _of_kind(files: list[Path], kind: str) -> list[Path]:
    kinds = {file: CITYSCAPES_KINDS.search(file.stem) for file in files}
    if not any(kinds.values()):
        return files
    if chosen := [file for file, found in kinds.items() if found and found[1] == kind]:
        return chosen
    raise DatasetError(
        f"no *_{kind}.png among Cityscapes' files in {files[0].parent}; --ids "
        "cityscapes-label takes labelIds, --labels colour the colours"
    )


def _matched(both: list[list[Path]], folders: Folders) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return inputs and targets by the names that match the most of them."""
    attempts = [
        [[name(file) for file in files] for files, name in zip(both, names, strict=True)]
        for names in _ways_to_name(both, folders)
    ]
    best = max(attempts, key=lambda names: len(set(names[0]) & set(names[1])))
    found = [_by_name(*one) for one in zip(both, best, folders, strict=True)]
    return found[0], found[1]


def _ways_to_name(
    both: list[list[Path]], folders: Folders
) -> Iterator[list[Callable[[Path], str]]]:
    """Yield functions that name the files of inputs and targets, from strict to loose."""
    affixes = [_affixes(files) for files in both]
    for tops in (list(folders), [None, None]):
        for prefixed, suffixed in ((False, False), (False, True), (True, True)):
            yield [
                partial(_name, top, before * prefixed, after * suffixed)
                for top, (before, after) in zip(tops, affixes, strict=True)
            ]


def _name(top: Path | None, prefix: str, suffix: str, file: Path) -> str:
    bare = file.stem.removeprefix(prefix).removesuffix(suffix)
    return (file.parent.relative_to(top) / bare).as_posix() if top else bare


def _affixes(files: Sequence[Path]) -> tuple[str, str]:
    """Return the words that all names begin and end with; a number is no word."""
    stems = [file.stem for file in files]
    if len(stems) < 2:
        return "", ""
    before = FIRST_WORDS.match(commonprefix(stems))  # noqa: RUF071  # of characters
    backwards = commonprefix([stem[::-1] for stem in stems])  # noqa: RUF071  # of characters
    after = LAST_WORDS.search(backwards[::-1])
    return before[0] if before else "", after[0] if after else ""


def _named_folders(data: Path, input_dir: str | None, target_dir: str | None) -> dict[str, Folders]:
    if input_dir is None or target_dir is None:
        raise DatasetError("--input-dir and --target-dir go together: give both or neither")
    for name in (input_dir, target_dir):
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise DatasetError(f"{name!r} must be the name of a folder inside {data}")
    if parts := _parts(data, input_dir, target_dir):
        return parts
    raise DatasetError(
        f"no folders {input_dir!r} and {target_dir!r} in {data} or its train/; "
        f"there is: {', '.join(_sub_folders(data)) or 'no folder at all'}"
    )


def _parts(data: Path, input_name: str, target_name: str) -> dict[str, Folders] | None:
    """Return the folders of these names by part of the data set, or None."""
    parts = {}
    for part, words in SPLITS.items():
        for word in words:
            source, target = (_part_folder(data, word, name) for name in (input_name, target_name))
            if part not in parts and source and target:
                parts[part] = Folders(source, target)
    if "train" in parts:
        return parts
    source, target = (_child(data, name) for name in (input_name, target_name))
    return {"train": Folders(source, target)} if source and target else None


def _part_folder(data: Path, part: str, name: str) -> Path | None:
    for parent, child in ((part, name), (name, part)):
        if (outer := _child(data, parent)) and (inner := _child(outer, child)):
            return inner
    joined = (_child(data, f"{part}{separator}{name}") for separator in ("", "_", "-"))
    return next((folder for folder in joined if folder), None)


def _child(folder: Path, name: str) -> Path | None:
    """Return the sub-folder of that name, in upper or lower case."""
    if (folder / name).is_dir():
        return folder / name
    alike = [child for child in _sub_folders(folder) if child.lower() == name.lower()]
    return folder / alike[0] if alike else None


def _sub_folders(folder: Path) -> list[str]:
    try:
        return sorted(child.name for child in folder.iterdir() if child.is_dir())
    except OSError:  # an unreadable folder is reported where its images are listed
        return []


def _check_beside(data: Path, names: tuple[str, str], parts: dict[str, Folders]) -> None:
    """Refuse a data set that could also be one of side-by-side images."""
    beside = count_images(data) + count_images(data / "train")
    source, target = names
    if beside >= len(nested_images(parts["train"].input)):
        raise DatasetError(
            f"{data} holds the folders {source} and {target} but also {beside} images beside "
            f"them; --input-dir {source} --target-dir {target} takes the folders, and side-by-side "
            "images need a folder of their own"
        )


def _by_name(files: list[Path], names: list[str], folder: Path) -> dict[str, Path]:
    counts = Counter(names)
    if twice := [name for name, count in counts.items() if count > 1]:
        alike = [
            " and ".join(f.name for f, own in zip(files, names, strict=True) if own == name)
            for name in twice[:3]
        ]
        raise DatasetError(
            f"{count_of(len(twice), 'name')} used twice in {folder}, so partners are ambiguous: "
            f"{'; '.join(alike)}; keep one of each"
        )
    return dict(zip(names, files, strict=True))


def _lonely(files: dict[str, Path], other: Path, others: dict[str, Path]) -> list[str]:
    """Describe the files that have no partner in ``other``."""
    missing = [file for stem, file in files.items() if stem not in others]
    by_lower = {stem.lower(): file for stem, file in others.items()} if missing else {}
    unread = {file.stem: file for file in other.iterdir()} if missing else {}
    described = []
    for file in missing:
        hint = ""
        if near := by_lower.get(file.stem.lower()):
            hint = f" ({near.name} differs in upper and lower case)"
        elif file.stem in unread:
            hint = f" ({unread[file.stem].name} is of a kind that is not read)"
        described.append(f"{file.parent.name}/{file.name} has none in {other.name}{hint}")
    return described


def _check_shapes(pairs: list[tuple[Path, Path]]) -> None:
    sizes = read_sizes([file for pair in pairs for file in pair])
    problems = []
    for source, target in pairs:
        (w, h), (other_w, other_h) = sizes[source], sizes[target]
        if abs(w * other_h / (h * other_w) - 1) > ASPECT_TOLERANCE:
            problems.append(f"{source} is {w}x{h} but {target} is {other_w}x{other_h}")
    if problems:
        raise DatasetError(
            f"the two of a pair must have the same shape: {listed(problems, 'such pairs')}"
        )
