"""Clips: consecutive label maps and real pictures, and how much generated ones flicker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.video.sources import open_source

__all__ = ["ClipFrame", "Flicker", "clip_frames"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFrame:
    """One frame of a clip, preprocessed for a generator.

    Attributes:
        label: the generator's input, (H, W, 3) uint8 BGR.
        photo: the real picture at that moment, of the same shape; None if there is none.
    """

    label: NDArray[np.uint8]
    photo: NDArray[np.uint8] | None = None


def clip_frames(
    labels: str, contract: PixelContract, photos: str | None = None
) -> Iterator[ClipFrame]:
    """Read a clip, preprocessed for the generator.

    Args:
        labels: a video or a folder of label maps in the palette's colours.
        contract: of the generator.
        photos: a video or a folder with the real pictures of the same moments, in order.

    Raises:
        SourceError: one of the two cannot be read.
        ConfigError: there are not as many photos as labels.
    """
    preprocess_photo = replace(contract, palette=None).preprocess
    reals = None if photos is None else iter(open_source(photos))
    for frame in open_source(labels):
        real = None if reals is None else next(reals, None)
        if reals is not None and real is None:
            raise ConfigError(f"{photos} has fewer frames than {labels}; they belong together")
        photo = None if real is None else preprocess_photo(real.image)
        yield ClipFrame(label=contract.preprocess(frame.image), photo=photo)


class Flicker:
    """The mean absolute change from frame to frame of pixels that keep their label.

    Camera motion along a wall changes the wall's pixels, too. So the number means something only
    beside that of the real clip.
    """

    def __init__(self) -> None:
        self._previous: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._sum = 0.0
        self._pixels = 0

    def add(self, label: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Add the next frame: label and image, (H, W, 3) uint8 BGR, the label without noise."""
        if self._previous is not None:
            same = (label == self._previous[0]).all(axis=-1)  # (H, W)
            change = image[same].astype(np.int16) - self._previous[1][same]
            self._sum += float(np.abs(change).sum()) / 3
            self._pixels += int(same.sum())
        self._previous = label, image

    def levels(self) -> float | None:
        """Return the mean change in levels, 0-255; None if no pixel kept its label."""
        return self._sum / self._pixels if self._pixels else None
