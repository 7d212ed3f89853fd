"""The pixel contract: how any frame becomes the generator's input, and its output a frame.

Training and the device call the same :meth:`PixelContract.preprocess`, so both give the generator
the same input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from p2p_runtime.errors import ContractError
from p2p_runtime.labels.color_lut import NEAR, ColorLut
from p2p_runtime.labels.colorspace import NO_MISMATCH, ColorspaceMismatch
from p2p_runtime.labels.likelihood import (
    BgrKey,
    BgrLikelihood,
    YuvKey,
    YuvLikelihood,
    YuvPalette,
)
from p2p_runtime.labels.palette import Palette
from p2p_runtime.labels.repair import repaired_ids
from p2p_runtime.labels.resampling import resize_nearest, sample
from p2p_runtime.labels.yuv import ColorSpec, Picture, YuvFrame, to_bgr

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CONTRACT_SCHEMA", "PixelContract", "check_frame"]

CONTRACT_SCHEMA = 2
MAX_SIDE_PX = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelContract:
    """What the generator reads: size, palette and the rule between a frame and its input.

    Attributes:
        height, width: the generator's input and output size in pixels.
        palette: the label colours; None for inputs that are not label maps (grey photos, edges).
        classes_present: indices of the classes that the training data holds, ascending; label
            repair yields no other class. None: every class of the palette.
        direction: what is translated into what, for people, for example ``labels to photo``.
    """

    height: int
    width: int
    palette: Palette | None
    direction: str = "right half to left half"
    classes_present: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if not 1 <= side <= MAX_SIDE_PX:
                raise ContractError(f"contract {name} is {side} px; 1 to {MAX_SIDE_PX} work")
        if self.palette is not None and self.classes_present is not None:
            _check_classes_present(self.classes_present, self.palette)

    def preprocess(self, frame: Picture, *, repair_labels: bool = True) -> NDArray[np.uint8]:
        """Turn any frame into the generator's input.

        The frame is stretched to the contract's size, never cropped. Label maps are resized by
        nearest neighbour, since any other rule invents classes, and repaired: each pixel becomes
        the exact colour of its most likely class, see :mod:`.repair`. Other pictures
        are resized by area (smaller) or bilinear (larger) and left as they are.

        Args:
            frame: (h, w, 3) uint8 BGR, any size, or planes.
            repair_labels: repair label maps; without it they are only resized.

        Returns:
            (height, width, 3) uint8 BGR, C-contiguous.

        Raises:
            ContractError: the frame is not (h, w, 3) uint8.
        """
        if self.palette is not None and repair_labels:
            return self.paint(self.classify(frame))
        check_frame(frame)
        return np.ascontiguousarray(self._resize(to_bgr(frame)))

    def classify(
        self,
        frame: Picture,
        *,
        size: tuple[int, int] | None = None,
        mismatch: ColorspaceMismatch = NO_MISMATCH,
    ) -> NDArray[np.uint8]:
        """Return the repaired class of each pixel of a resized label map.

        Args:
            frame: (h, w, 3) uint8 BGR, any size, or planes.
            size: height and width of the result in pixels; None for the contract's.
            mismatch: how the frame's colours are off as a whole.

        Returns:
            (height, width) uint8 class indices.

        Raises:
            ContractError: the frame is not (h, w, 3) uint8, or the contract has no palette.
        """
        check_frame(frame)
        height, width = size or (self.height, self.width)
        sampling = sample(*frame.shape[:2], height, width)
        labels = self._labels
        if isinstance(frame, YuvFrame):
            planes_key = _planes_key(labels, self.classes_present, mismatch, frame.storage)
            return repaired_ids(YuvLikelihood(sampling.read_yuv(frame), planes_key), sampling)
        key = _bgr_key(labels, self.classes_present, mismatch)
        if key.may_be_exact(frame):
            exact = key.exact_ids(resize_nearest(frame, height, width))
            if exact is not None:
                return exact
        return repaired_ids(BgrLikelihood(sampling.read(frame), key), sampling)

    def paint(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class indices (h, w) uint8 in the palette's colours, (h, w, 3) uint8 BGR.

        Raises:
            ContractError: the contract has no palette.
        """
        return self._labels.paint(ids)

    def off_palette(
        self, frame: Picture, mismatch: ColorspaceMismatch = NO_MISMATCH, *, every_px: int = 1
    ) -> float:
        """Return the share (0-1) of pixels over 31 levels from every colour of the palette.

        Args:
            frame: (h, w, 3) uint8 BGR, or planes.
            mismatch: how its colours are off as a whole.
            every_px: look at every so many rows and columns only.

        Raises:
            ContractError: the contract has no palette.
        """
        if isinstance(frame, YuvFrame):
            return _planes_palette(self._labels, mismatch, frame.storage).off(frame, every_px)
        codes = _whole_palette(self._labels, self.classes_present, mismatch).codes(
            frame[::every_px, ::every_px]
        )
        return float(((codes & NEAR) == 0).mean())

    @property
    def _labels(self) -> Palette:
        if self.palette is None:
            raise ContractError("the contract has no palette, so its inputs have no classes")
        return self.palette

    def postprocess(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """Stretch a generated image back to its source frame's size.

        Args:
            image: (contract height, contract width, 3) uint8 BGR.
            height, width: the source frame's size in pixels.

        Returns:
            (height, width, 3) uint8 BGR; bicubic when larger, area when smaller.
        """
        if image.shape[:2] == (height, width):
            return image
        larger = height * width > image.shape[0] * image.shape[1]
        how = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
        return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)

    def _resize(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.palette is not None or frame.shape[:2] == (self.height, self.width):
            return resize_nearest(frame, self.height, self.width)
        smaller = frame.shape[0] * frame.shape[1] > self.height * self.width
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        size = (self.width, self.height)
        return np.asarray(cv2.resize(frame, size, interpolation=how), np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; :meth:`from_json` reads them back."""
        return {
            "schema": CONTRACT_SCHEMA,
            "height": self.height,
            "width": self.width,
            "resize": "stretch, nearest" if self.palette else "stretch, area or bilinear",
            "labels": "palette colours" if self.palette else "none",
            "palette": self.palette.to_json() if self.palette else None,
            "classes_present": None if self.classes_present is None else list(self.classes_present),
            "direction": self.direction,
        }

    @classmethod
    def from_json(cls, document: Any) -> PixelContract:
        """Read what :meth:`to_json` wrote.

        Raises:
            ContractError: a field is missing, malformed, or of a schema this version cannot read.
        """
        if not isinstance(document, dict):
            raise ContractError("contract: not a JSON object")
        if document.get("schema") != CONTRACT_SCHEMA:
            raise ContractError(
                f"contract field 'schema' is {document.get('schema')!r}, this version reads "
                f"{CONTRACT_SCHEMA}; train or export again with this version"
            )
        palette = _field(document, "palette", (dict, type(None)))
        return cls(
            height=_field(document, "height", int),
            width=_field(document, "width", int),
            palette=None if palette is None else Palette.from_json(palette),
            direction=_field(document, "direction", str),
            classes_present=_classes_present(
                _field(document, "classes_present", (list, type(None)))
            ),
        )


def check_frame(frame: Picture) -> None:
    """Make sure that a frame is one; planes always are.

    Raises:
        ContractError: it is not (h, w, 3) uint8 BGR.
    """
    if isinstance(frame, YuvFrame):
        return
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ContractError(
            f"a frame must be (height, width, 3) uint8 BGR, this one is {frame.shape} {frame.dtype}"
        )


def _field(document: dict[str, Any], name: str, kind: Any) -> Any:
    value = document.get(name, _field)
    if value is _field:
        raise ContractError(f"contract field {name!r} is missing")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ContractError(f"contract field {name!r} is {value!r}, of the wrong type")
    return value


def _check_classes_present(used: tuple[int, ...], palette: Palette) -> None:
    count = len(palette.classes)
    if not used or list(used) != sorted(set(used)) or not 0 <= used[0] <= used[-1] < count:
        raise ContractError(
            f"contract field 'classes_present' is {list(used)}; it must name classes of the "
            f"palette, which has {count}, in ascending order"
        )


def _classes_present(value: list[Any] | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    if any(type(index) is not int for index in value):
        raise ContractError(
            f"contract field 'classes_present' is {value!r}, not a list of whole numbers"
        )
    return tuple(value)


def _admitted(palette: Palette, used: tuple[int, ...] | None) -> NDArray[np.uint8]:
    """Return the classes that may come out of the repair, (N,) uint8."""
    return np.array(range(len(palette.classes)) if used is None else used, np.uint8)


@lru_cache(maxsize=4)
def _bgr_key(
    palette: Palette, used: tuple[int, ...] | None, mismatch: ColorspaceMismatch
) -> BgrKey:
    classes = _admitted(palette, used)
    return BgrKey(classes, mismatch.seen(palette.colours_bgr())[classes])


@lru_cache(maxsize=4)
def _planes_key(
    palette: Palette, used: tuple[int, ...] | None, mismatch: ColorspaceMismatch, storage: ColorSpec
) -> YuvKey:
    classes = _admitted(palette, used)
    return YuvKey(classes, mismatch.levels(palette.colours_bgr())[classes], storage)


@lru_cache(maxsize=4)
def _planes_palette(
    palette: Palette, mismatch: ColorspaceMismatch, storage: ColorSpec
) -> YuvPalette:
    return YuvPalette(mismatch.levels(palette.colours_bgr()), storage)


@lru_cache(maxsize=4)
def _whole_palette(
    palette: Palette, used: tuple[int, ...] | None, mismatch: ColorspaceMismatch
) -> ColorLut:
    """Return a table that tells what lies near any of the palette's colours, used or not."""
    if used is None or len(used) == len(palette.classes):
        return _bgr_key(palette, used, mismatch).table
    seen = mismatch.seen(palette.colours_bgr())
    return ColorLut(np.zeros(len(seen), np.uint8), seen)
