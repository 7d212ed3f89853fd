"""Find the pairs of a data set, whatever its layout, and split them.

A data set is a folder of side-by-side images or two folders matched by name. Either is split into
``train/`` and ``val/`` (or ``test/``), or all in one place; then the seed picks one pair in ten for
validation.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from p2p_runtime.errors import DatasetError
from p2p_train.config import DataConfig, InputSide

from .images import (
    ImageRef,
    Pair,
    count_images,
    images_in,
    left_out,
    listed,
    nested_images,
    printable,
    read_sizes,
)
from .two_folders import KNOWN_NAMES, SPLITS, find_folders, find_part, matched_pairs

__all__ = ["PairIndex", "evenly_spread", "find_pairs"]

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class PairIndex:
    """The pairs of a data set, in the order of their names, and words for people.

    Attributes:
        fingerprint: hex SHA-256 over names and file sizes; a resumed run must find the same.
        direction: the names of input and target.
        roles: what is input and what target, and what stands in for a missing part.
        left_out: what else lies in the folder, counted by kind.
    """

    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    fingerprint: str
    layout: str
    direction: str
    roles: str = ""
    left_out: str = ""

    @property
    def side_by_side(self) -> bool:
        """Whether input and target are halves of one image."""
        return self.train[0].input.part != "whole"

    def with_refs(self, side: Literal["input", "target"], **changes: Any) -> PairIndex:
        """Return the same pairs with other attributes of all inputs or of all targets."""
        train, val = (
            tuple(replace(one, **{side: replace(getattr(one, side), **changes)}) for one in pairs)
            for pairs in (self.train, self.val)
        )
        return replace(self, train=train, val=val)


def find_pairs(config: DataConfig) -> PairIndex:
    """List the pairs that ``config`` describes.

    Raises:
        DatasetError: the folder is missing, unreadable or empty, or a file is not such an image;
            the message names the first bad files and counts the others.
    """
    data = Path(config.folder)
    if not data.is_dir():
        what = "is no folder; unpack archives first" if data.exists() else "does not exist"
        raise DatasetError(
            f"data folder {data} {what}; give one with --data "
            "(side-by-side images in train/ and val/, or two folders such as labels/ and photos/)"
        )
    folders = find_folders(data, config.input_dir, config.target_dir)
    if folders is None:
        parts = _side_by_side(data, config.input_side)
        other = "left" if config.input_side == "right" else "right"
        layout = "side-by-side images"
        roles = f"input: {config.input_side} half, target: {other} half"
        direction = f"{config.input_side} half to the other half"
    else:
        ids = "labelIds" if config.ids or config.labels == "ids" else "color"
        kind = "labelTrainIds" if config.ids == "cityscapes-train" else ids
        parts = {
            part: matched_pairs(both, config.allow_missing, kind)
            for part, both in folders.items()
            if part != "test" or "val" not in folders
        }
        names = [
            "/".join(n for n in folder.relative_to(data).parts if n.lower() not in SPLITS["train"])
            for folder in folders["train"]
        ]
        layout, direction = f"two folders {' -> '.join(names)}", " to ".join(names)
        roles = f"input: {names[0]}, target: {names[1]}"
    train, val = parts["train"], parts.get("val", ())
    if not val and (val := parts.get("test", ())):
        roles += "; the test part is the validation part, as there is no other"
    if not val:
        train, val = _split(train, config.seed)
    used = {ref.path for pair in (*train, *val) for ref in (pair.input, pair.target)}
    if odd := [name for path in sorted(used) if printable(name := path.name) != name]:
        logger.info(
            "%d file names cannot be printed as they are: %s", len(odd), listed(odd, "such")
        )
    return PairIndex(
        train=train,
        val=val,
        fingerprint=_fingerprint([*train, *val], data),
        layout=f"{layout}, {len(train) + len(val)} pairs",
        direction=direction,
        roles=roles,
        left_out=left_out(data, used),
    )


def _side_by_side(data: Path, input_side: InputSide) -> dict[str, tuple[Pair, ...]]:
    found = {part: folder for part in SPLITS if (folder := find_part(data, part))}
    folder = found.get("train", data)
    if not count_images(folder) and (names := _folders_with_images(folder)):
        known = ", ".join(f"{source}/{target}" for source, target in KNOWN_NAMES)
        raise DatasetError(
            f"no images in {folder} itself, but in its folders {', '.join(names)}; name those of "
            f"inputs and targets: --input-dir NAME --target-dir NAME (known names: {known})"
        )
    held_out = next((part for part in ("val", "test") if part in found), None)
    parts = {"train": _halves(folder, input_side)}
    return parts | ({held_out: _halves(found[held_out], input_side)} if held_out else {})


def _folders_with_images(folder: Path) -> list[str]:
    try:
        return sorted(
            child.name for child in folder.iterdir() if child.is_dir() and _holds_images(child)
        )
    except OSError as error:
        raise DatasetError(f"cannot read folder {folder}: {error.strerror}") from error


def _holds_images(folder: Path) -> bool:
    try:
        return bool(nested_images(folder))
    except DatasetError:
        return False


def _halves(folder: Path, input_side: InputSide) -> tuple[Pair, ...]:
    """List the side-by-side images of a folder, by name."""
    files = images_in(folder)
    _refuse_twos(files)
    odd = [
        f"{file} is {width} px wide; two halves side by side need an even width"
        for file, (width, _) in read_sizes(files).items()
        if width % 2
    ]
    if odd:
        raise DatasetError(listed(odd, "such files"))
    target_side: InputSide = "left" if input_side == "right" else "right"
    return tuple(
        Pair(
            input=ImageRef(path=file, part=input_side), target=ImageRef(path=file, part=target_side)
        )
        for file in files
    )


def _refuse_twos(files: list[Path]) -> None:
    """Refuse the two of each pair in one folder, such as ``A_1`` and ``B_1``."""
    stems = {file.stem.lower() for file in files}
    for names in KNOWN_NAMES:
        source, target = (name.lower() for name in names)
        for own, other in ((f"{source}_", f"{target}_"), (f"{source}-", f"{target}-")):
            twos = [stem for stem in stems if stem.startswith(own)]
            twins = [other + stem.removeprefix(own) for stem in twos]
            backs = [stem for stem in stems if stem.endswith(own_end := f"{own[-1]}{source}")]
            twins += [f"{stem.removesuffix(own_end)}{own[-1]}{target}" for stem in backs]
            if len(stems) > 1 and 2 * len(stems.intersection(twins)) > len(stems) / 2:
                raise DatasetError(
                    f"the names in {files[0].parent} come in twos, such as {min(twos + backs)} and "
                    f"{min(twins)}: move inputs and targets into two folders, {names[0]} and "
                    f"{names[1]}"
                )


def evenly_spread(total: int, at_most: int) -> list[int]:
    """Return up to ``at_most`` of ``total`` indices, spread evenly from the first to the last."""
    return [int(index) for index in np.linspace(0, total - 1, min(at_most, total)).round()]


def _split(pairs: tuple[Pair, ...], seed: int) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    if len(pairs) < 2:
        raise DatasetError("one pair is not enough: training and validation need one each")
    count = max(1, round(len(pairs) * VALIDATION_SHARE))
    chosen = set(random.Random(seed).sample(range(len(pairs)), count))
    train = tuple(pair for index, pair in enumerate(pairs) if index not in chosen)
    return train, tuple(pairs[index] for index in sorted(chosen))


def _fingerprint(pairs: list[Pair], data: Path) -> str:
    digest = hashlib.sha256()
    for pair in pairs:
        for ref in (pair.input, pair.target):
            name = os.fsencode(ref.path.relative_to(data).as_posix())  # not always UTF-8
            digest.update(name + f" {ref.part} {ref.path.stat().st_size}\n".encode())
    return digest.hexdigest()
