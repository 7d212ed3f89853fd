"""Can a judge still read the labels in what a backend made of them?"""

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

__all__ = ["judge_images"]


def judge_images(
    path: Path,
    contract: PixelContract,
    images: dict[str, NDArray[np.uint8]],
    frames: NDArray[np.uint8],
) -> dict[str, dict[str, float]]:
    """Return pixel accuracy and mean IoU of each backend's images.

    Args:
        path: a judge of ``p2p-train judge``.
        contract: of the frames.
        images: (M * N, H, W, 3) uint8 BGR by backend.
        frames: (M, N, H, W, 3) uint8 BGR, the label maps that they were made of.

    Raises:
        CheckpointError: the judge cannot be read.
        ConfigError: it knows other labels.
    """
    judge = Segmenter.load(path, torch.device("cpu"))
    judge.check_labels(contract)
    labels = frames.reshape(-1, *frames.shape[2:])
    scores = {}
    for name, pictures in images.items():
        fidelity = SegmentationScore.of(judge.confusion(pictures, labels))
        scores[name] = {
            "pixel_accuracy": fidelity.pixel_accuracy,
            "mean_iou": fidelity.mean_iou,
        }
    return scores
