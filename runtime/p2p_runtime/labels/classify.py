"""The class of each pixel of a frame: by lookup in exact label maps, by repair in others."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .color_lut import NEAR
from .likelihood import BgrAppearance, BgrLikelihood, YuvLikelihood
from .repair import repaired_ids
from .resampling import resample, resize_nearest
from .yuv import YuvFrame
from .yuv_lut import YuvLut, YuvPaletteLut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .colorspace import ColorspaceMismatch
    from .palette import Palette
    from .yuv import ColorSpec, Picture

    Classes = tuple[int, ...] | None

__all__ = ["classify", "off_palette"]


def classify(
    frame: Picture,
    size: tuple[int, int],
    palette: Palette,
    classes: Classes,
    mismatch: ColorspaceMismatch,
) -> NDArray[np.uint8]:
    """Return the repaired class of each pixel of a label map, resized by nearest neighbour.

    Args:
        frame: (H, W, 3) uint8 BGR, or YUV 4:2:0.
        size: height and width of the result in pixels.
        palette: the colours of the label map.
        classes: the class indices that may come out, ascending; None for all.
        mismatch: the colorspace mismatch of the frame.

    Returns:
        (height, width) uint8 class indices.
    """
    if classes is not None and len(classes) == len(palette.classes):
        classes = None  # one table for both
    resampling = resample(*frame.shape[:2], *size)
    if isinstance(frame, YuvFrame):
        in_yuv = _in_yuv(palette, classes, mismatch, frame.spec)
        return repaired_ids(YuvLikelihood(resampling.source_yuv(frame), in_yuv), resampling)
    in_bgr = _in_bgr(palette, classes, mismatch)
    if in_bgr.may_be_exact(frame):
        exact = in_bgr.exact_ids(resize_nearest(frame, *size))
        if exact is not None:
            return exact
    return repaired_ids(BgrLikelihood(resampling.source_pixels(frame), in_bgr), resampling)


def off_palette(
    frame: Picture, palette: Palette, mismatch: ColorspaceMismatch, every_px: int
) -> float:
    """Return the share (0-1) of pixels over 31 levels from every colour of the palette.

    Args:
        frame: (H, W, 3) uint8 BGR, or YUV 4:2:0.
        palette: the colours of the label map.
        mismatch: the colorspace mismatch of the frame.
        every_px: step between the rows and columns that are tested.
    """
    if isinstance(frame, YuvFrame):
        return _palette_in_yuv(palette, mismatch, frame.spec).off_palette(frame, every_px)
    entries = _in_bgr(palette, None, mismatch).lut.lookup(frame[::every_px, ::every_px])
    return float(((entries & NEAR) == 0).mean())


def _indices(palette: Palette, classes: Classes) -> NDArray[np.uint8]:
    return np.array(range(len(palette.classes)) if classes is None else classes, np.uint8)


@lru_cache(maxsize=4)
def _in_bgr(palette: Palette, classes: Classes, mismatch: ColorspaceMismatch) -> BgrAppearance:
    indices = _indices(palette, classes)
    return BgrAppearance(indices, mismatch.shift(palette.colours_bgr())[indices])


@lru_cache(maxsize=4)
def _in_yuv(
    palette: Palette, classes: Classes, mismatch: ColorspaceMismatch, spec: ColorSpec
) -> YuvLut:
    indices = _indices(palette, classes)
    return YuvLut(indices, mismatch.shift_levels(palette.colours_bgr())[indices], spec)


@lru_cache(maxsize=4)
def _palette_in_yuv(
    palette: Palette, mismatch: ColorspaceMismatch, spec: ColorSpec
) -> YuvPaletteLut:
    return YuvPaletteLut(mismatch.shift_levels(palette.colours_bgr()), spec)
