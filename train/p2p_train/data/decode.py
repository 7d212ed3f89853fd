"""Decode pictures: whole, halves, pairs, and label maps of class ids; without torch.

Pillow decodes: OpenCV returns half of a truncated JPEG without an error, and converts the indices
of palette PNGs to colours. Of 16 bits, Pillow keeps eight, so OpenCV decodes those. What no library
tells, a JPEG without its middle, is checked when a process reads a file for the first time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from p2p_runtime.errors import ContractError, DatasetError
from p2p_runtime.labels.ids import ids_of
from p2p_runtime.labels.palette import Palette
from p2p_runtime.pictures import (
    FULL_16_BIT,
    Levels,
    is_damaged_jpeg,
    on_white,
    to_8_bit,
    upright,
)  # fmt: skip

from .layouts.images import ImageRef, Pair, is_16_bit, open_image, orientation

__all__ = [
    "DecodedPair", "ImageGoneError", "measure_levels", "read_ids", "read_image", "read_input",
    "read_pair",
]  # fmt: skip

ID_MODES = {"1", "L", "P", "I", "I;16"}
"""Pillow modes with one channel, whose levels or palette indices can be class ids."""

JPEGS = ("JPEG", "MPO")
"""Pillow's formats that are JPEG files; phones write the second one."""

_whole_jpegs: set[Path] = set()
"""Files that this process has found undamaged."""


class ImageGoneError(DatasetError):
    """A file that was listed is gone."""


class DecodedPair(NamedTuple):
    """Input and target, (H, W, 3) uint8 BGR each, and which input pixels do not count.

    ``ignored`` is (H, W), or None where all pixels count; ``label`` is what lies beside an input
    that is a picture, like it, or None.
    """

    input: NDArray[np.uint8]
    target: NDArray[np.uint8]
    ignored: NDArray[np.bool_] | None = None
    label: NDArray[np.uint8] | None = None


def read_pair(pair: Pair, palette: Palette | None) -> DecodedPair:
    """Decode input, target and label; two halves are decoded once, unless one holds ids.

    Raises:
        DatasetError: as for :func:`read_input` and :func:`read_image`.
    """
    both = _read_two(pair, palette)
    if pair.label is None:
        return both
    return both._replace(label=read_input(pair.label, pair.label_palette))


def _read_two(pair: Pair, palette: Palette | None) -> DecodedPair:
    if pair.input.part == "whole" or pair.input.ids is not None:
        label, ignored = _read_labels(pair.input, palette)
        return DecodedPair(label, read_image(pair.target), ignored)
    whole = _decode(pair.input, opaque=palette is not None)
    return DecodedPair(_part(whole, pair.input), _part(whole, pair.target))


def read_input(ref: ImageRef, palette: Palette | None) -> NDArray[np.uint8]:
    """Decode an input as (H, W, 3) uint8 BGR; class ids are painted with ``palette``.

    Raises:
        DatasetError: as for :func:`read_image` and :func:`read_ids`, an id has no class, or a map
            of colours is transparent somewhere, where it has no class.
    """
    return _read_labels(ref, palette)[0]


def _read_labels(
    ref: ImageRef, palette: Palette | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    if ref.ids is None or palette is None:
        return _part(_decode(ref, opaque=palette is not None), ref), None
    ids = read_ids(ref)
    try:
        classes = ref.ids.to_classes(ids, palette)
    except ContractError as error:
        raise DatasetError(f"{ref.path}: {error}") from error
    ignored = ref.ids.ignored_mask(ids)
    return palette.paint(classes), ignored if ignored.any() else None


def read_image(ref: ImageRef) -> NDArray[np.uint8]:
    """Decode a picture or a half of it, upright by its EXIF tag, as (H, W, 3) uint8 BGR.

    Grey, palette, CMYK and 16-bit pictures become RGB; behind transparency, there is white paper.

    Raises:
        ImageGoneError: the file is missing.
        DatasetError: the file is damaged or not a picture; the message names it.
    """
    return _part(_decode(ref), ref)


def measure_levels(files: Sequence[Path]) -> Levels:
    """Return the levels of 16-bit pictures that are to be black and white, for all files alike.

    Sensors mark what they did not measure by the lowest and the highest level, which do not count.
    Pictures that use more than half of the range are photos, which keep it. Other files are left
    out.
    """
    lowest, highest = FULL_16_BIT[::-1]
    for file in files:
        with contextlib.suppress(ImageGoneError), _opened(file) as image:
            if not is_16_bit(image):
                continue
            levels = _read_16_bit(file)[..., :3]
            measured = levels[(levels > 0) & (levels < FULL_16_BIT[1])]
            lowest = min(lowest, int(measured.min(initial=lowest)))
            highest = max(highest, int(measured.max(initial=highest)))
    narrow = 0 < highest - lowest <= FULL_16_BIT[1] // 2
    return (lowest, highest) if narrow else FULL_16_BIT


def read_ids(ref: ImageRef) -> NDArray[np.integer]:
    """Read class ids: the levels of a grey picture, or the indices of a palette PNG.

    They are (H, W) integers of the file's width. Colours with three equal channels count as grey,
    those with a single channel that is not zero (CARLA's red) as that channel; opacity is left out.

    Raises:
        ImageGoneError: the file is missing.
        DatasetError: the file has colours rather than ids, or is a JPEG, which alters ids.
    """
    with _opened(ref.path) as image:
        if image.format in JPEGS:
            raise DatasetError(
                f"{ref.path} is a JPEG, which does not keep class ids exactly; store them as PNG, "
                "or use --labels colour if they are not ids"
            )
        mode, deep = image.mode, is_16_bit(image)
        levels = _read_16_bit(ref.path) if deep and mode not in ID_MODES else np.asarray(image)
        levels = _half(upright(levels, orientation(image)), ref)
    if levels.dtype == bool:
        return levels.astype(np.uint8)
    ids = ids_of(levels[..., 0] if mode == "LA" else levels)
    if ids is not None:
        return ids
    raise DatasetError(f"{ref.path} has colours (mode {mode}), not class ids; use --labels colour")


def _decode(ref: ImageRef, *, opaque: bool = False) -> NDArray[np.uint8]:
    """Return the whole picture as (H, W, 3) uint8 RGB; ``opaque`` ones must not be transparent."""
    with _opened(ref.path) as image:
        if image.mode in ("I", "F") and not is_16_bit(image):
            raise DatasetError(
                f"{ref.path} has 32 bits a pixel, whose black and white nobody knows; store it "
                "with 16 or 8, on the same scale as all others"
            )
        mode = "RGBA" if image.has_transparency_data else "RGB"
        if is_16_bit(image):
            pixels = to_8_bit(_read_16_bit(ref.path), ref.levels)
        else:
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
        if pixels.shape[2] == 4:
            if opaque and pixels[..., 3].min() < 255:
                raise DatasetError(
                    f"{ref.path} is transparent in some places, so these have no label; store it "
                    "without transparency, or use --palette none if it is no label map"
                )
            pixels = on_white(pixels)
        return upright(pixels, orientation(image))


def _read_16_bit(path: Path) -> NDArray[np.uint16]:
    """Return levels of 16 bits as they are stored, (H, W, 3 or 4) RGB."""
    levels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16:
        raise DatasetError(f"cannot read image {path}: it is damaged")
    grey = cv2.COLOR_GRAY2RGB if levels.ndim == 2 else cv2.COLOR_BGR2RGB
    swap = cv2.COLOR_BGRA2RGBA if levels.shape[2:] == (4,) else grey
    return np.asarray(cv2.cvtColor(levels, swap), np.uint16)


def _part(pixels_rgb: NDArray[np.uint8], ref: ImageRef) -> NDArray[np.uint8]:
    # OpenCV swaps channels ten times faster than a reversed NumPy view is copied.
    return np.asarray(cv2.cvtColor(_half(pixels_rgb, ref), cv2.COLOR_RGB2BGR), np.uint8)


def _half(pixels: NDArray[Any], ref: ImageRef) -> NDArray[Any]:
    middle = pixels.shape[1] // 2
    parts = {"left": np.s_[:, :middle], "right": np.s_[:, middle:], "whole": np.s_[:, :]}
    return pixels[parts[ref.part]]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with open_image(path) as image:
            if image.format in JPEGS and path not in _whole_jpegs:
                if is_damaged_jpeg(path.read_bytes()):
                    raise DatasetError(f"{path} is damaged: a part of the picture is missing")
                _whole_jpegs.add(path)
            yield image
    except FileNotFoundError as error:
        raise ImageGoneError(f"cannot read image {path}: it is not there") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read image {path}: {error}") from error
