"""Augmentation of pairs: random crops of an enlarged pair, and mirroring.

It is a function of (seed, epoch, pair), not of a generator's state. So a resumed run sees the same
pixels, whatever the number of workers.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Crops and mirrors pairs at random; without arguments it changes nothing.

    Attributes:
        jitter_px: pixels by which pairs are enlarged before a random crop (the paper, section 6.2:
            286 to 256); 0 for none.
        flip: mirror half of the pairs.
        seed: random seed.
    """

    jitter_px: int = 0
    flip: bool = False
    seed: int = 0

    def apply(
        self, source: NDArray[np.uint8], target: NDArray[np.uint8], epoch: int, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Crop, and perhaps mirror, the two of a pair alike.

        Args:
            source, target: (H + jitter_px, W + jitter_px, 3) uint8 BGR each.
            epoch, index: of the pair.

        Returns:
            Input and target, (H, W, 3) uint8 BGR each.
        """
        rng = np.random.default_rng([self.seed, epoch, index])
        top, left = rng.integers(0, self.jitter_px, size=2, endpoint=True)
        height, width = (side - self.jitter_px for side in source.shape[:2])
        window = np.s_[top : top + height, left : left + width]
        if self.flip and rng.random() < 0.5:
            return _mirrored(source[window]), _mirrored(target[window])
        return source[window], target[window]


def _mirrored(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # OpenCV mirrors several times faster than a reversed NumPy view is copied.
    return np.asarray(cv2.flip(image, 1), np.uint8)
