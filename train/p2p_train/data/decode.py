"""Decode pictures: whole, halves, pairs, and label maps of class ids; without torch.

Pillow decodes: OpenCV returns half of a truncated JPEG without an error, and converts the indices
of palette PNGs to colours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from p2p_runtime.errors import ContractError, DatasetError
from p2p_runtime.labels.palette import Palette

from .layouts.images import ImageRef, Pair, open_image

__all__ = ["ImageGoneError", "read_ids", "read_image", "read_input", "read_pair"]

ID_MODES = {"1", "L", "P", "I", "I;16"}
"""Pillow modes with one channel, whose levels or palette indices can be class ids."""


class ImageGoneError(DatasetError):
    """A file that was listed is gone."""


def read_pair(pair: Pair, palette: Palette | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Decode input and target, (H, W, 3) uint8 BGR each; the file of two halves is decoded once.

    Raises:
        DatasetError: as for :func:`read_input` and :func:`read_image`.
    """
    if pair.input.part == "whole":
        return read_input(pair.input, palette), read_image(pair.target)
    whole = _decode(pair.input.path)
    return _part(whole, pair.input), _part(whole, pair.target)


def read_input(ref: ImageRef, palette: Palette | None) -> NDArray[np.uint8]:
    """Decode an input as (H, W, 3) uint8 BGR; class ids are painted with ``palette``.

    Raises:
        DatasetError: as for :func:`read_image` and :func:`read_ids`, or an id has no colour.
    """
    if not ref.ids or palette is None:
        return read_image(ref)
    try:
        return palette.to_colours(read_ids(ref.path).astype(np.uint8))
    except ContractError as error:
        raise DatasetError(f"{ref.path}: {error}") from error


def read_image(ref: ImageRef) -> NDArray[np.uint8]:
    """Decode a picture or a half of it, upright by its EXIF tag, as (H, W, 3) uint8 BGR.

    Grey, palette, CMYK and 16-bit pictures become RGB; transparency is dropped.

    Raises:
        ImageGoneError: the file is missing.
        DatasetError: the file is truncated or not a picture; the message names it.
    """
    return _part(_decode(ref.path), ref)


def read_ids(path: Path) -> NDArray[np.integer]:
    """Read class ids: the levels of a grey picture, or the indices of a palette PNG.

    They are (H, W) integers of the file's width; RGB with three equal channels counts as grey.

    Raises:
        ImageGoneError: the file is missing.
        DatasetError: the file has colours rather than ids, or is a JPEG, which alters ids.
    """
    with _opened(path) as image:
        if image.format == "JPEG":
            raise DatasetError(
                f"{path} is a JPEG, which does not keep class ids exactly; store them as PNG, "
                "or use --labels colour if they are not ids"
            )
        levels, mode = np.asarray(ImageOps.exif_transpose(image)), image.mode
    if mode in ID_MODES:
        return levels.astype(np.uint8) if mode == "1" else levels
    if mode == "RGB" and (levels == levels[..., :1]).all():
        return np.ascontiguousarray(levels[..., 0])
    raise DatasetError(f"{path} has colours (mode {mode}), not class ids; use --labels colour")


def _decode(path: Path) -> NDArray[np.uint8]:
    """Return the whole picture as (H, W, 3) uint8 RGB."""
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits a level
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _part(pixels_rgb: NDArray[np.uint8], ref: ImageRef) -> NDArray[np.uint8]:
    middle = pixels_rgb.shape[1] // 2
    parts = {"left": np.s_[:, :middle], "right": np.s_[:, middle:], "whole": np.s_[:, :]}
    # OpenCV swaps channels ten times faster than a reversed NumPy view is copied.
    return np.asarray(cv2.cvtColor(pixels_rgb[parts[ref.part]], cv2.COLOR_RGB2BGR), np.uint8)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with open_image(path) as image:
            yield image
    except FileNotFoundError as error:
        raise ImageGoneError(f"cannot read image {path}: it is not there") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read image {path}: {error}") from error
