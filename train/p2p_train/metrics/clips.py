"""Clips: consecutive label maps and real pictures, and how steady generated ones are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.video.sources import open_source

__all__ = ["ClipFrame", "Flicker", "WarpError", "clip_frames"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFrame:
    """One frame of a clip as a generator's input, and the real picture at that moment, if any.

    Both are (H, W, 3) uint8 BGR.
    """

    label: NDArray[np.uint8]
    photo: NDArray[np.uint8] | None = None


def clip_frames(
    labels: str, contract: PixelContract, photos: str | None = None
) -> Iterator[ClipFrame]:
    """Read a clip, preprocessed for the generator.

    Labels, in the palette's colours, and photos of the same moments are videos or folders.

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


class _Change:
    """The mean absolute change of some pixels from one frame to the next."""

    def __init__(self) -> None:
        self._previous: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
        self._sum, self._pixels = 0.0, 0

    def levels(self) -> float | None:
        """Return the mean change in levels, 0-255; None if there was nothing to compare."""
        return self._sum / self._pixels if self._pixels else None

    def _count(
        self, image: NDArray[np.uint8], before: NDArray[np.uint8], where: NDArray[np.bool_]
    ) -> None:
        self._sum += float(np.abs(image[where].astype(np.int16) - before[where]).sum()) / 3
        self._pixels += int(where.sum())


class Flicker(_Change):
    """The mean absolute change from frame to frame of pixels that keep their label.

    Camera motion along a wall changes the wall's pixels, too. So the number means something only
    beside that of the real clip.
    """

    def add(self, label: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Add the next frame: label and image, (H, W, 3) uint8 BGR, the label without noise."""
        if self._previous is not None:
            before, last = self._previous
            self._count(image, last, (label == before).all(axis=-1))  # (H, W)
        self._previous = label, image


class WarpError(_Change):
    """The mean absolute change along the motion of the real photos, occlusions left out.

    What sticks to the screen while the scene moves counts here, and not as flicker. The motion is
    DIS optical flow: Kroeger et al. 2016 (arXiv 1603.03590). Pixels count whose motion there and
    back ends where it began: Sundaram et al. 2010 (doi 10.1007/978-3-642-15549-9_32).
    Blur lowers the number, so it means something only beside distances of single pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def add(self, photo: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Add the next frame: real photo and image, (H, W, 3) uint8 BGR."""
        grey = np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY), np.uint8)
        if self._previous is not None:
            before, last = self._previous
            back, forth = self._motion(grey, before), self._motion(before, grey)  # (H, W, 2)
            forth = _moved(forth, back)
            gap, least = ((back + forth) ** 2).sum(axis=-1), (back**2 + forth**2).sum(axis=-1)
            seen = gap < 0.01 * least + 0.5
            self._count(image, _moved(last, back), seen)
        self._previous = grey, image

    def _motion(self, one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._flow.calc(one, two, None))  # type: ignore[call-overload]  # stubs know no flow without a first guess


def _moved(image: NDArray[Any], flow: NDArray[np.float32]) -> NDArray[Any]:
    """Return an image with the pixel that ``flow``, (H, W, 2), points to at each place."""
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    places = columns + flow[..., 0], rows + flow[..., 1]
    return np.asarray(cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
