"""What a call of the Python API may be given, as the picture that it stands for."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from p2p_runtime.errors import ConfigError, ContractError, SourceError
from p2p_runtime.labels.ids import IDS, choices, look_like_ids
from p2p_runtime.labels.palette import Palette
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.labels.yuv import Picture, YuvFrame
from p2p_runtime.model.contract import PixelContract, check_frame

__all__ = ["to_picture"]

_COLOURS = ("RGB", "RGBA", "P")
"""Modes of Pillow's pictures that hold colours."""

_SWAPPED = 0.1
"""Lead of the share of pixels on the palette in RGB over that in BGR that shows the order."""

_LOOKED_AT_PX = 8
"""Distance in pixels of the rows and columns that are looked at for that."""


def to_picture(
    frame: object, contract: PixelContract, *, rgb: bool = False, ids: str | None = None
) -> Picture:
    """Return (H, W, 3) uint8 BGR, or 4:2:0, of what :meth:`.Translator.__call__` takes.

    Raises:
        ContractError: it is something else, or in another order of colours.
        ConfigError: there is no such numbering.
    """
    if isinstance(frame, YuvFrame):
        return frame
    if isinstance(frame, str | bytes | PathLike):
        raise ContractError(
            f"{frame!r} is a name, not a picture; read it first, with cv2.imread or PIL.Image.open"
        )
    if ids is not None and not isinstance(ids, str):
        raise ConfigError(f"ids is {ids!r}, not the name of a numbering; {choices()}")
    mode = getattr(frame, "mode", None)
    if isinstance(mode, str) and hasattr(frame, "convert"):  # Pillow, which is not imported here
        if not ids and mode not in (_COLOURS if contract.palette else (*_COLOURS, "L")):
            raise ContractError(
                f"the picture has mode {mode}, not {', '.join(_COLOURS)}; convert it to RGB or, if "
                f"it holds class ids, name a numbering, for example ids='cityscapes-train'"
            )
        pixels, rgb = np.asarray(frame if ids else frame.convert("RGB")), True
    elif isinstance(frame, np.ndarray):
        pixels = frame
    else:
        raise ContractError(
            f"a frame must be a NumPy array (height, width, 3) uint8 BGR or a picture of Pillow, "
            f"not {type(frame).__name__}"
        )
    if ids is not None:
        return _painted(pixels, contract.palette, ids)
    looked_at = _may_be_ids(pixels) and (contract.palette is not None or pixels.ndim == 2)
    if looked_at and (pixels.ndim == 2 or look_like_ids(pixels)):
        raise ContractError(
            f"the frame, {pixels.shape} {pixels.dtype}, has class ids or grey levels, not colours; "
            f"name a numbering, for example ids='cityscapes-train' ({choices()}), or make it BGR"
        )
    try:
        check_frame(pixels)
    except ContractError as error:
        raise ContractError(f"{error}{_way_out(pixels)}") from error
    bgr = np.ascontiguousarray(pixels[..., ::-1]) if rgb else pixels
    if not rgb and contract.palette is not None and _is_swapped(bgr, contract.palette):
        raise ContractError("the colours of the frame are in the order RGB; give rgb=True")
    return bgr


def _painted(pixels: Any, palette: Palette | None, ids: str) -> Picture:
    if palette is None:
        raise ContractError("the contract has no palette, so its inputs have no class ids")
    if not (_may_be_ids(pixels) and 0 <= pixels.min() <= pixels.max() < IDS):
        raise ContractError(
            f"class ids must be whole numbers of 0-{IDS - 1} in (height, width), these are "
            f"{pixels.shape} {pixels.dtype}; write 255 for -1"
        )
    try:
        painted = LabelReader(palette, ids=ids)(pixels, "the frame")
    except SourceError as error:
        raise ContractError(str(error)) from error
    assert painted is not None, "a named numbering is never taken for colours"
    return painted


def _may_be_ids(pixels: Any) -> bool:
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    return bool(shaped and pixels.dtype.kind in "iu" and pixels.size)


def _way_out(pixels: Any) -> str:
    """Say how a likely array becomes a frame."""
    if not pixels.size:
        return "; it is empty: was the picture read?"
    if pixels.dtype.kind == "f":
        return "; levels of 0-1 become such by (255 * frame).round().astype('uint8')"
    if pixels.ndim == 4:
        return "; give one frame at a time"
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return "; leave the opacity out: frame[..., :3]"
    return "; give frame.transpose(1, 2, 0)" if pixels.shape[0] == 3 and pixels.ndim == 3 else ""


def _is_swapped(bgr: Any, palette: Palette) -> bool:
    some = np.ascontiguousarray(bgr[::_LOOKED_AT_PX, ::_LOOKED_AT_PX])
    as_rgb = palette.coverage(np.ascontiguousarray(some[..., ::-1]))
    return as_rgb - palette.coverage(some) > _SWAPPED
