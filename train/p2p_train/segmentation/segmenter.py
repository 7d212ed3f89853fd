"""The judge as everybody uses it: photos in, classes or features out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from p2p_runtime.errors import CheckpointError, ConfigError, ContractError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.metrics.frechet import FeatureStatistics
from p2p_train.metrics.labels import IGNORED, LabelFidelity, confusion_matrix
from p2p_train.networks.pixels import to_signal
from p2p_train.tensorfile import read_tensors, write_tensors
from p2p_train.training.checkpoint import load_weights

from .network import SegmentationNet

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Segmenter", "label_ids", "void_classes"]

JUDGE_SCHEMA = 1
BATCH = 8
VOTE_PX = 5

VOID_CLASSES = frozenset(
    {
        "unlabelled",
        *("dynamic", "ground", "parking", "rail track", "guard rail", "bridge", "tunnel"),
        *("caravan", "trailer"),
    }
)
"""Classes that nobody is asked about: those that Cityscapes' own benchmark leaves out
(``ignoreInEval`` in cityscapesScripts), so that scores mean what they do in papers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmenter:
    """A network that finds the classes in a photo, and what it scores on real photos.

    Attributes:
        network: in eval mode.
        width: the network's width.
        classes: which class of the palette each channel of the network stands for.
        contract: the size that photos are brought to, and the palette of the labels.
        ceiling: its scores on real photos that it was not trained on.
        photos: statistics of its features on the real training photos.
        floor: Frechet distance between real photos of training and validation.
    """

    network: SegmentationNet
    width: int
    classes: tuple[int, ...]
    contract: PixelContract
    ceiling: LabelFidelity
    photos: FeatureStatistics
    floor: float

    def label_ids(self, labels: NDArray[np.uint8]) -> torch.Tensor:
        """Return which class each pixel of label maps should show.

        Args:
            labels: (N, h, w, 3) uint8 BGR, any size.

        Returns:
            (N, H / 2, W / 2) uint8 channel numbers, for a contract of H x W; ``IGNORED`` where
            the class is none of :attr:`classes`.
        """
        return label_ids(labels, self.contract, self.classes)

    def check_labels(self, contract: PixelContract) -> None:
        """Make sure that a colour means the same to the judge and to a generator.

        Raises:
            ConfigError: their palettes differ.
        """
        if self.contract.palette != contract.palette:
            mine, its = (
                f"palette {c.palette.name}" if c.palette else "pictures without a palette"
                for c in (self.contract, contract)
            )
            raise ConfigError(f"the judge was trained on {mine}, the generator's inputs are {its}")

    def find_classes(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return the channel number of each pixel's class: (N, H / 2, W / 2) int64.

        Args:
            images: photos or what should look like them, (N, h, w, 3) uint8 BGR, any size.
        """
        return torch.cat([self.network(s).argmax(dim=1).cpu() for s in self._signals(images)])

    def features(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return (N, D) float32 features of images as for :meth:`find_classes`."""
        return torch.cat([self.network.features(s).cpu() for s in self._signals(images)])

    def confusion(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> torch.Tensor:
        """Return the confusion matrix (rows true, columns found) of images and their labels."""
        return confusion_matrix(
            self.label_ids(labels), self.find_classes(images), len(self.classes)
        )

    def _signals(self, images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
        device = next(self.network.parameters()).device
        fit = replace(self.contract, palette=None).preprocess
        with torch.inference_mode():
            for first in range(0, len(images), BATCH):
                batch = np.stack([fit(image) for image in images[first : first + BATCH]])
                signal = to_signal(torch.from_numpy(batch).to(device))
                yield signal.contiguous(memory_format=torch.channels_last)

    def save(self, path: Path) -> None:
        """Write the judge.

        Raises:
            OutputError: it cannot be written; what stood at ``path`` still does.
        """
        content: dict[str, Any] = {
            "network": self.network.state_dict(),
            "width": self.width,
            "classes": list(self.classes),
            "contract": self.contract.to_json(),
            "ceiling": asdict(self.ceiling),
            "photos": {"mean": self.photos.mean, "covariance": self.photos.covariance},
            "floor": self.floor,
        }
        write_tensors(path, content, schema=JUDGE_SCHEMA)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Segmenter:
        """Read a judge onto ``device``.

        Raises:
            CheckpointError: it is missing, broken, altered, unsafe, or not a judge.
        """
        content = read_tensors(path, schema=JUDGE_SCHEMA, what="judge")
        try:
            network = SegmentationNet(classes=len(content["classes"]), width=content["width"])
            load_weights(network, content["network"], "judge")
            network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            return cls(
                network=network,
                width=content["width"],
                classes=tuple(content["classes"]),
                contract=PixelContract.from_json(content["contract"]),
                ceiling=LabelFidelity(**content["ceiling"]),
                photos=FeatureStatistics(**content["photos"]),
                floor=content["floor"],
            )
        except (KeyError, TypeError, ContractError) as error:
            raise CheckpointError(f"{path} is not a judge: {error}") from error


def label_ids(
    labels: NDArray[np.uint8], contract: PixelContract, classes: tuple[int, ...]
) -> torch.Tensor:
    """Return the place in ``classes`` of each label pixel's class; see :meth:`Segmenter.label_ids`.

    The 5x5 px around a pixel vote on its class: label maps kept as JPEG are blurred, and colours
    between two classes snap to a third that is not there. Void may win, classes that are not asked
    about have no vote.

    Raises:
        ContractError: the contract has no palette.
    """
    if contract.palette is None:
        raise ContractError("a judge needs label maps, and these inputs have no palette")
    votes = classes + tuple(void_classes(contract.palette))
    found = np.full(len(votes), IGNORED, np.uint8)
    found[: len(classes)] = np.arange(len(classes))
    place = np.full(256, len(votes), np.uint8)  # others have no vote
    place[list(votes)] = np.arange(len(votes))
    ballot = np.eye(len(votes) + 1, len(votes), dtype=np.float32)
    ids = []
    for label in labels:
        cast = ballot[
            place[contract.palette.to_ids(contract.preprocess(label, repair_labels=False))]
        ]  # (H, W, C)
        counts = cv2.blur(cast, (VOTE_PX, VOTE_PX), borderType=cv2.BORDER_REPLICATE)
        counts = counts.reshape(cast.shape)[::2, ::2]  # OpenCV drops a single channel's axis
        ids.append(np.where(counts.any(axis=2), found[counts.argmax(axis=2)], IGNORED))
    return torch.from_numpy(np.stack(ids))


def void_classes(palette: Palette) -> list[int]:
    """Return which classes, as indices of the palette, are among :data:`VOID_CLASSES`."""
    return [index for index, name in enumerate(palette.classes) if name in VOID_CLASSES]
