"""Find the pairs of a data set on disk and check their headers, without torch.

A data set is a folder of side-by-side images, each the target beside its input, either split in
``train/`` and ``val/`` or all in one place (then one in ten is kept for validation).
"""

from __future__ import annotations

import hashlib
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from p2p_runtime.errors import DatasetError

from .config import InputSide

__all__ = ["ImageRef", "Pair", "PairIndex", "find_pairs"]

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
VALIDATION_SHARE = 0.1
LARGEST_PIXELS = 80_000_000
"""Larger images are refused from their header; Pillow itself begins to warn at 89 megapixels."""

Part = Literal["left", "right", "whole"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """A picture on disk, or one half of it."""

    path: Path
    part: Part = "whole"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An input and the target that the generator should make of it."""

    stem: str
    input: ImageRef
    target: ImageRef


@dataclass(frozen=True, kw_only=True, slots=True)
class PairIndex:
    """The pairs of a data set.

    Attributes:
        train, val: the pairs, in the order of their names.
        fingerprint: hex SHA-256 over names and file sizes; a resumed run must find the same.
    """

    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    fingerprint: str


def find_pairs(data: Path, *, input_side: InputSide, seed: int) -> PairIndex:
    """List the pairs under ``data``.

    Args:
        data: folder with ``train/`` (and ``val/``), or with the images themselves.
        input_side: which half of each image is the generator's input.
        seed: picks the validation pairs when there is no ``val/``.

    Raises:
        DatasetError: the folder is missing, unreadable or empty, or a file is not such an image;
            the message names the first bad files and counts the others.
    """
    if not data.is_dir():
        raise DatasetError(
            f"data folder {data} does not exist; give one with --data "
            "(side-by-side images in train/ and val/)"
        )
    parts = {name: data / name for name in ("train", "val") if (data / name).is_dir()}
    train = _side_by_side(parts.get("train", data), input_side)
    val = _side_by_side(parts["val"], input_side) if "val" in parts else ()
    if not val:
        train, val = _split(train, seed)
    return PairIndex(train=train, val=val, fingerprint=_fingerprint([*train, *val], data))


def _side_by_side(folder: Path, input_side: InputSide) -> tuple[Pair, ...]:
    files = _images_in(folder)
    problems = [problem for file in files if (problem := _header_problem(file))]
    if problems:
        more = f" (and {len(problems) - 3} more such files)" if len(problems) > 3 else ""
        raise DatasetError("; ".join(problems[:3]) + more)
    target_side: InputSide = "left" if input_side == "right" else "right"
    return tuple(
        Pair(
            stem=file.stem,
            input=ImageRef(path=file, part=input_side),
            target=ImageRef(path=file, part=target_side),
        )
        for file in files
    )


def _images_in(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise DatasetError(f"cannot read folder {folder}: {error.strerror}") from error
    if not files:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(f"no images ({kinds}) in {folder}")
    return files


def _header_problem(file: Path) -> str | None:
    """Say what is wrong with an image, as far as its header tells."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with Image.open(file) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        return f"{file} is refused: its header claims more pixels than any photo has"
    except UnidentifiedImageError:
        empty = file.stat().st_size == 0
        return f"{file} is {'empty' if empty else 'not an image, whatever its name says'}"
    except (OSError, SyntaxError, ValueError) as error:
        return f"{file} cannot be read: {error}"
    if width * height > LARGEST_PIXELS:
        return f"{file} is refused: {width}x{height} is over {LARGEST_PIXELS // 10**6} megapixels"
    if width % 2 or width < 2:
        return f"{file} is {width} px wide; two halves side by side need an even width"
    return None


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
            name = ref.path.relative_to(data).as_posix()
            digest.update(f"{name} {ref.part} {ref.path.stat().st_size}\n".encode())
    return digest.hexdigest()
