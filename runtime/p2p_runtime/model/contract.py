"""The pixel contract: how any frame becomes the generator's input, and its output a frame.

Training and the device call the same :meth:`PixelContract.preprocess`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ContractError
from p2p_runtime.labels.colorspace import NO_MISMATCH, ColorspaceMismatch
from p2p_runtime.labels.ids import ClassIds, Shares
from p2p_runtime.labels.palette import Palette
from p2p_runtime.labels.repair import classify, off_palette
from p2p_runtime.labels.resampling import resize
from p2p_runtime.labels.yuv import Picture, YuvFrame, to_bgr
from p2p_runtime.pictures import FULL_16_BIT, Levels

__all__ = ["PixelContract", "check_frame", "json_field"]

CONTRACT_SCHEMA = 2
"""Version of the JSON document; documents of other versions are refused."""

MAX_SIDE_PX = 8192
"""Maximum height and width of the generator's input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelContract:
    """The generator's input: its size, its palette, and the rule that makes it from a frame.

    Attributes:
        height, width: the generator's input and output size in pixels.
        palette: the label colours; None for inputs that are not label maps (grey photos, edges).
        direction: what is translated into what, for people, for example ``labels to photo``.
        classes_present: indices of the classes that the training data holds, ascending, and that
            label repair yields; None for every class of the palette.
        ids: the numbering of the training data's class ids; None if they were colours.
        class_shares: share (0-1) of each class of the palette in the upper, middle and lower third
            of the training data's label maps; None if that is not known.
        levels_16_bit: the levels of 16-bit inputs that become 0 and 255.
        grey: the outputs have equal channels, because all photos of the training data do.
    """

    height: int
    width: int
    palette: Palette | None
    direction: str = "right half to left half"
    classes_present: tuple[int, ...] | None = None
    ids: ClassIds | None = None
    class_shares: Shares | None = None
    levels_16_bit: Levels = FULL_16_BIT
    grey: bool = False

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if not 1 <= side <= MAX_SIDE_PX:
                raise ContractError(f"contract {name} is {side} px; 1 to {MAX_SIDE_PX} work")
        if self.palette is not None and self.classes_present is not None:
            classes, count = self.classes_present, len(self.palette.classes)
            whole = all(type(index) is int for index in classes)
            if not (classes and whole and list(classes) == sorted({*classes} & {*range(count)})):
                raise ContractError(
                    f"contract field 'classes_present' is {list(classes)}; it must hold indices of "
                    f"the palette's {count} classes, ascending"
                )

    def preprocess(self, frame: Picture, *, repair_labels: bool = True) -> NDArray[np.uint8]:
        """Turn any frame into the generator's input.

        The frame is stretched to the contract's size, never cropped. Label maps are resized by
        nearest neighbour, since any other rule invents classes, and repaired: each pixel becomes
        the exact colour of its most likely class, see :mod:`p2p_runtime.labels.repair`. Other
        pictures are resized by area (smaller) or bilinear (larger).

        Args:
            frame: (H, W, 3) uint8 BGR, any size, or YUV 4:2:0.
            repair_labels: False: label maps are only resized.

        Returns:
            (height, width, 3) uint8 BGR, C-contiguous.

        Raises:
            ContractError: the frame is not (H, W, 3) uint8.
        """
        if self.palette is not None and repair_labels:
            return self.paint(self.classify(frame))
        check_frame(frame)
        if self.palette is not None:
            how = cv2.INTER_NEAREST_EXACT
        else:
            shrinks = frame.shape[0] * frame.shape[1] > self.height * self.width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.ascontiguousarray(resize(to_bgr(frame), self.height, self.width, how))

    def classify(
        self,
        frame: Picture,
        *,
        size: tuple[int, int] | None = None,
        mismatch: ColorspaceMismatch = NO_MISMATCH,
    ) -> NDArray[np.uint8]:
        """Return the repaired class of each pixel of a label map, (height, width) uint8.

        Args:
            frame: (H, W, 3) uint8 BGR, any size, or YUV 4:2:0.
            size: height and width of the result in pixels; None for the contract's.
            mismatch: the colorspace mismatch of the frame.

        Raises:
            ContractError: the frame is not (H, W, 3) uint8, or the contract has no palette.
        """
        check_frame(frame)
        size = size or (self.height, self.width)
        return classify(frame, size, self._label_colours, self.classes_present, mismatch)

    def paint(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return class indices (H, W) uint8 in the palette's colours, (H, W, 3) uint8 BGR.

        Raises:
            ContractError: the contract has no palette.
        """
        return self._label_colours.paint(ids)

    def off_palette(
        self, frame: Picture, mismatch: ColorspaceMismatch = NO_MISMATCH, *, every_px: int = 1
    ) -> float:
        """Return the share (0-1) of pixels over 31 levels from every colour of the palette.

        Pixels of every ``every_px``-th row and column are tested; the rest, and what is raised, is
        as in :meth:`classify`.
        """
        return off_palette(frame, self._label_colours, mismatch, every_px)

    def postprocess(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        """Stretch a generated image, (H, W, 3) uint8 BGR, back to its source frame's size.

        ``height`` and ``width`` are in pixels; the rule is bicubic when larger, area when smaller.
        """
        grows = height * width > image.shape[0] * image.shape[1]
        return resize(image, height, width, cv2.INTER_CUBIC if grows else cv2.INTER_AREA)

    @property
    def _label_colours(self) -> Palette:
        if self.palette is None:
            raise ContractError("the contract has no palette, so its inputs have no classes")
        return self.palette

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values for :meth:`from_json`."""
        return {
            "schema": CONTRACT_SCHEMA,
            "height": self.height,
            "width": self.width,
            "resize": "stretch, nearest" if self.palette else "stretch, area or bilinear",
            "labels": "palette colours" if self.palette else "none",
            "palette": self.palette.to_json() if self.palette else None,
            "classes_present": None if self.classes_present is None else list(self.classes_present),
            "direction": self.direction,
            "ids": None if self.ids is None else self.ids.to_json(),
            "class_shares": self.class_shares and [list(third) for third in self.class_shares],
            "levels_16_bit": list(self.levels_16_bit),
            "grey": self.grey,
        }

    @classmethod
    def from_json(cls, document: Any) -> PixelContract:
        """Return the contract of what :meth:`to_json` returned, or raise a ContractError."""
        if not isinstance(document, dict):
            raise ContractError("contract: not a JSON object")
        if document.get("schema") != CONTRACT_SCHEMA:
            raise ContractError(
                f"contract field 'schema' is {document.get('schema')!r}, this version reads "
                f"{CONTRACT_SCHEMA}; train or export again with this version"
            )
        palette = json_field(document, "palette", (dict, type(None)))
        labels = None if palette is None else Palette.from_json(palette)
        classes = json_field(document, "classes_present", (list, type(None)))
        return cls(
            height=json_field(document, "height", int),
            width=json_field(document, "width", int),
            palette=labels,
            direction=json_field(document, "direction", str),
            classes_present=None if classes is None else tuple(classes),
            ids=None if document.get("ids") is None else ClassIds.from_json(document["ids"]),
            class_shares=_shares(document.get("class_shares"), labels),
            levels_16_bit=_levels(document.get("levels_16_bit", FULL_16_BIT)),
            grey=document.get("grey") is True,
        )


def _shares(value: Any, palette: Palette | None) -> Shares | None:
    if value is None or palette is None:
        return None
    try:
        shares = np.array(value, np.float64)
    except (TypeError, ValueError):
        shares = np.zeros(0)
    if shares.shape != (3, len(palette.classes)) or not ((shares >= 0) & (shares <= 1)).all():
        raise ContractError("contract field 'class_shares' is not three lists of shares")
    return tuple(map(tuple, shares.tolist()))


def _levels(value: Any) -> Levels:
    whole = isinstance(value, list | tuple) and [type(level) for level in value] == [int, int]
    if not whole or not 0 <= value[0] < value[1] <= FULL_16_BIT[1]:
        raise ContractError(f"contract field 'levels_16_bit' is {value!s:.40}, not two levels")
    return value[0], value[1]


def check_frame(frame: Picture) -> None:
    """Raise a ContractError unless a picture is a YUV frame or (H, W, 3) uint8 BGR."""
    if isinstance(frame, YuvFrame):
        return
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ContractError(
            f"a frame must be (height, width, 3) uint8 BGR, this one is {frame.shape} {frame.dtype}"
        )


def json_field(document: dict[str, Any], name: str, kind: Any) -> Any:
    """Return a field of a JSON object, which must be of ``kind``, or raise a ContractError."""
    if name not in document:
        raise ContractError(f"contract field {name!r} is missing")
    value = document[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ContractError(f"contract field {name!r} is {value!r}, of the wrong type")
    return value
