"""Frames in YUV 4:2:0, as video codecs store them: luma per pixel, chroma per 2x2 pixels.

Label repair works on them directly: conversion to BGR costs time and clips some values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColorSpec", "Picture", "YuvFrame", "to_bgr"]

# Luma weights of (blue, green, red): ITU-R BT.601-7, BT.709-6.
_LUMA = {"BT.601": (0.114, 0.587, 0.299), "BT.709": (0.0722, 0.7152, 0.2126)}
# Scale of luma, offset of luma, scale of chroma.
_RANGE = {"limited": (219 / 255, 16.0, 224 / 255), "full": (1.0, 0.0, 1.0)}


@dataclass(frozen=True, slots=True)
class ColorSpec:
    """The matrix and the range by which BGR becomes YUV, and back.

    Levels are ``limited`` (luma 16-235, chroma 16-240) or ``full`` (0-255).
    """

    matrix: str = "BT.601"
    levels: str = "limited"

    def bgr_to_yuv(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (3, 3) and (3,): ``(luma, Cb, Cr) = bgr @ matrix + offset``, all in levels."""
        luma = np.array(_LUMA[self.matrix])
        blue, red = (np.eye(3)[channel] - luma for channel in (0, 2))
        scale, offset, chroma_scale = _RANGE[self.levels]
        columns = [
            scale * luma,
            chroma_scale * blue / (2 * (1 - luma[0])),
            chroma_scale * red / (2 * (1 - luma[2])),
        ]
        return np.stack(columns, axis=1), np.array([offset, 128.0, 128.0])

    def scales(self) -> NDArray[np.float64]:
        """Return the stored levels per level of full-range (luma, Cb, Cr): (3,)."""
        scale, _, chroma_scale = _RANGE[self.levels]
        return np.array([scale, chroma_scale, chroma_scale])

    def to_bgr(self, yuv: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the unclipped BGR levels of (..., 3) luma, Cb and Cr."""
        matrix, offset = self.bgr_to_yuv()
        inverse = np.linalg.inv(matrix)
        return yuv @ inverse.astype(np.float32) + (-offset @ inverse).astype(np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class YuvFrame:
    """A frame in YUV 4:2:0; its pixels are read-only by convention.

    Attributes:
        luma: (H, W) uint8.
        cb, cr: (ceil(H / 2), ceil(W / 2)) uint8, one sample per 2x2 px from the top left corner.
        spec: the meaning of their levels.
    """

    luma: NDArray[np.uint8]
    cb: NDArray[np.uint8]
    cr: NDArray[np.uint8]
    spec: ColorSpec

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3), the frame's shape as BGR."""
        return (*self.luma.shape[:2], 3)

    def strided(self, rows: int, columns: int) -> tuple[NDArray[np.uint8], ...]:
        """Return luma, Cb, Cr of every ``rows``-th row and ``columns``-th column: (h, w) uint8."""
        luma = np.ascontiguousarray(self.luma[::rows, ::columns])
        if rows % 2 == columns % 2 == 0:
            blocks = slice(None, None, rows // 2), slice(None, None, columns // 2)
            return luma, self.cb[blocks], self.cr[blocks]
        height, width = self.luma.shape
        at = np.ix_(np.arange(0, height, rows) >> 1, np.arange(0, width, columns) >> 1)
        return luma, self.cb[at], self.cr[at]

    def bgr(self, rows: int = 1, columns: int = 1) -> NDArray[np.uint8]:
        """Return the pixels of :meth:`strided` as (h, w, 3) uint8 BGR; by default all of them."""
        yuv = np.stack(self.strided(rows, columns), axis=-1).astype(np.float32)
        return np.clip(np.rint(self.spec.to_bgr(yuv)), 0, 255).astype(np.uint8)

    def take(self, rows: NDArray[np.intp] | None, columns: NDArray[np.intp] | None) -> YuvFrame:
        """Return some rows and columns, given as whole blocks (pairs of places); None for all."""
        luma, cb, cr = self.luma, self.cb, self.cr
        if rows is not None:
            block_rows = rows[::2] >> 1
            luma, cb, cr = luma[rows], cb[block_rows], cr[block_rows]
        if columns is not None:
            block_columns = columns[::2] >> 1
            luma, cb, cr = luma[:, columns], cb[:, block_columns], cr[:, block_columns]
        return YuvFrame(luma, cb, cr, self.spec)


Picture: TypeAlias = NDArray[np.uint8] | YuvFrame
"""A frame: (H, W, 3) uint8 BGR, or YUV 4:2:0."""


def to_bgr(picture: Picture, rows: int = 1, columns: int = 1) -> NDArray[np.uint8]:
    """Return every ``rows``-th row and ``columns``-th column as (h, w, 3) uint8 BGR."""
    if isinstance(picture, YuvFrame):
        return picture.bgr(rows, columns)
    return picture[::rows, ::columns]
