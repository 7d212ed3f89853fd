"""Score the images of backends with a segmenter: do they show the classes of their label maps?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_train.metrics import SegmentationScore
from p2p_train.segmentation import Segmenter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.model.contract import PixelContract

__all__ = ["score_images"]


def score_images(
    path: Path,
    contract: PixelContract,
    images: dict[str, NDArray[np.uint8]],
    frames: NDArray[np.uint8],
) -> dict[str, dict[str, float]]:
    """Return the pixel accuracy and mean IoU (0-1) of each backend's images.

    Args:
        path: a segmenter of ``p2p-train segmenter``.
        contract: of the frames.
        images: (M * N, H, W, 3) uint8 BGR by backend.
        frames: (M, N, H, W, 3) uint8 BGR, the label maps of these images.

    Raises:
        CheckpointError: the segmenter cannot be read.
        ConfigError: it was trained on other classes.
    """
    segmenter = Segmenter.load(path, torch.device("cpu"))
    segmenter.check_labels(contract)
    labels = frames.reshape(-1, *frames.shape[2:])  # (M * N, H, W, 3)
    scores = {}
    for name, generated in images.items():
        score = SegmentationScore.of(segmenter.confusion(generated, labels))
        scores[name] = {"pixel_accuracy": score.pixel_accuracy, "mean_iou": score.mean_iou}
    return scores
