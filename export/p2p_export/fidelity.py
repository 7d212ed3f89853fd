"""Does an exported file keep what a judge can read in the pictures?

PSNR to the torch module says how close two pictures are; this says whether the difference touches
what the pictures show.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_train.metrics import SegmentationScore, confusion_matrix
from p2p_train.segmentation import Segmenter

from .frames import read_inputs
from .graph.pixel_generator import PixelGenerator
from .parity import run_torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from p2p_runtime.model.contract import PixelContract
    from p2p_train.config import TrainConfig

    from .options import ExportOptions

__all__ = ["JUDGED_FRAMES", "LabelCheck", "check_labels"]

JUDGED_FRAMES = 250
"""Most frames that a judge looks at: a class that is in few of them moves the mean IoU a lot."""

_log = logging.getLogger(__name__)


class LabelCheck:
    """A judge, the label maps that it is asked about, and what the torch module scores there.

    Args:
        judge: trained on real photos with the same palette.
        frames: label maps as inputs of the generator, (N, H, W, 3) uint8 BGR.
        images: what the torch module makes of them, (N, H, W, 3) uint8 BGR.

    Attributes:
        frames: as given.
        trained: label fidelity of the torch module's images.
    """

    def __init__(
        self, judge: Segmenter, frames: NDArray[np.uint8], images: NDArray[np.uint8]
    ) -> None:
        self._judge = judge
        self._wanted = judge.label_ids(frames)
        self.frames = frames
        self.trained = self.of(images)

    def of(self, images: NDArray[np.uint8]) -> SegmentationScore:
        """Return how well the judge finds the labels of :attr:`frames` again in ``images``."""
        found = self._judge.classify(images)
        return SegmentationScore.of(confusion_matrix(self._wanted, found, len(self._judge.classes)))


def check_labels(
    request: ExportOptions, generator: nn.Module, contract: PixelContract, config: TrainConfig
) -> LabelCheck | None:
    """Ask the judge that the user named, if any, about the torch module's images.

    Args:
        request: names the judge, and perhaps a folder of inputs to look at.
        generator: the torch module.
        contract: of its inputs.
        config: how folders of inputs are read, and where the run's own data lie.

    Raises:
        ConfigError: the judge knows other labels.
        CheckpointError: the judge cannot be read.
        DatasetError: the inputs cannot be read.
    """
    if request.judge is None:
        return None
    judge = Segmenter.load(request.judge, torch.device("cpu"))
    judge.check_labels(contract)
    folder = request.frames or Path(config.data)
    frames = read_inputs(folder, config, contract, limit=JUDGED_FRAMES, part="val")
    _log.info("label fidelity: %d frames of %s", len(frames), folder)
    return LabelCheck(judge, frames, run_torch(PixelGenerator(generator), frames))
