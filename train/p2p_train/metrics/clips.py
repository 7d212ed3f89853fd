"""Clips: consecutive label maps and real pictures, preprocessed for a generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.video.sources import open_source

__all__ = ["ClipFrame", "clip_frames"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFrame:
    """One frame of a clip.

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
    reals = iter(()) if photos is None else iter(open_source(photos))
    for frame in open_source(labels):
        label = contract.preprocess(frame.image)
        if photos is None:
            yield ClipFrame(label=label)
            continue
        real = next(reals, None)
        if real is None:
            raise ConfigError(f"{photos} has fewer frames than {labels}; they belong together")
        yield ClipFrame(label=label, photo=preprocess_photo(real.image))
