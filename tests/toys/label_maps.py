"""What tests of label repair share: colours, a contract, and how much of a map is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract

Image = NDArray[np.uint8]
COLOURS = CITYSCAPES.colours_bgr()


def contract_of(image: Image, used: tuple[int, ...] | None = None) -> PixelContract:
    """Return a contract of an image's size."""
    height, width = image.shape[:2]
    return PixelContract(height=height, width=width, palette=CITYSCAPES, classes_present=used)


def wrong(image: Image, truth: Image) -> float:
    """Return the share (0-1) of pixels of another class."""
    return float((image != truth).any(axis=-1).mean())
