"""LPIPS and FID as others publish them, where the networks that they need lie on disk.

Nothing is downloaded here: weights are looked for where torch keeps downloads, and a missing file
is an error that says where it comes from and where it goes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.image import FrechetInceptionDistance, LearnedPerceptualImagePatchSimilarity

from p2p_runtime.errors import CheckpointError
from p2p_train.networks.pixels import to_signal
from p2p_train.tensorfile import load_tensors

__all__ = ["INCEPTION_URL", "PublishedMetrics", "find_weights"]

ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)


class PublishedMetrics:
    """Collects generated and real images for LPIPS and FID.

    LPIPS is that of Zhang et al. 2018 (arXiv 1801.03924) with AlexNet; FID that of Heusel et al.
    2017 (arXiv 1706.08500) with the weights of TensorFlow's Inception.

    Raises:
        CheckpointError: a network's weights are not on disk, or are not tensors alone.
    """

    def __init__(self, device: torch.device) -> None:
        find_weights(ALEXNET_URL, "LPIPS")
        inception = find_weights(INCEPTION_URL, "FID")
        self._device = device
        self._lpips = LearnedPerceptualImagePatchSimilarity("alex").to(device)
        self._fid = FrechetInceptionDistance(feature_extractor_weights_path=str(inception))
        self._fid.to(device).set_dtype(torch.float64)

    def add(self, images: NDArray[np.uint8], photos: NDArray[np.uint8]) -> None:
        """Count generated images and the photos of the same inputs, (N, H, W, 3) uint8 BGR each."""
        made, real = (torch.from_numpy(one).to(self._device) for one in (images, photos))
        self._lpips.update(to_signal(made).clamp(-1, 1), to_signal(real).clamp(-1, 1))
        for pixels, is_real in ((made, False), (real, True)):
            self._fid.update(pixels.flip(-1).permute(0, 3, 1, 2), real=is_real)  # (N, 3, H, W) RGB

    def lpips(self) -> float:
        """Return the mean distance of an image to its photo; less is better."""
        return float(self._lpips.compute())

    def fid(self) -> float:
        """Return the distance of all images to all photos; with few of them it is too large."""
        return float(self._fid.compute())


def find_weights(url: str, metric: str) -> Path:
    """Return the file that torch would have downloaded from ``url``.

    Raises:
        CheckpointError: it is not there, or holds more than tensors, which might execute.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise CheckpointError(f"{metric}: weights not found: download {url} to {path}")
    load_tensors(path, "file of weights")
    return path
