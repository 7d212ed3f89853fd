"""The segmenter: photos in, classes or features out; frozen, for losses on generated pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from p2p_runtime.errors import CheckpointError, ConfigError, ContractError
from p2p_runtime.labels.palette import Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import Precision
from p2p_train.devices import autocast
from p2p_train.metrics.evaluator import (
    IGNORED,
    FeatureStatistics,
    SegmentationScore,
    confusion_matrix,
)
from p2p_train.networks.pixels import to_pixels, to_signal
from p2p_train.tensorfile import load_weights, read_tensors, write_tensors

__all__ = ["FrozenSegmenter", "SegmentationNet", "Segmenter", "label_ids", "void_classes"]

SCHEMA = 2
"""Version of the file's layout."""

BATCH = 8
MAJORITY_PX = 5
"""Side of the majority filter that cleans label maps before scoring."""

TEXTURE_STAGES = 2
"""Number of stages whose features describe texture, at 1/4 and 1/8 of the image."""

VOID_CLASSES = {
    *("unlabelled", "dynamic", "ground", "parking", "rail track", "guard rail", "bridge", "tunnel"),
    *("caravan", "trailer"),
}
"""Classes that are not scored: those that Cityscapes' own benchmark leaves out (``ignoreInEval`` in
cityscapesScripts), so that scores mean the same as in papers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmenter:
    """A segmentation network in eval mode, and how well it does on real photos.

    Attributes:
        classes: class of the palette that each channel of the network stands for.
        contract: the size that photos are resized to, and the palette of the labels.
        photo_score: segmentation score of real photos that it was not trained on.
        photo_features: statistics of its features on the real training photos.
        photo_distance: Frechet distance between real photos of training and validation.
    """

    network: SegmentationNet
    classes: tuple[int, ...]
    contract: PixelContract
    photo_score: SegmentationScore
    photo_features: FeatureStatistics
    photo_distance: float

    def label_ids(self, labels: NDArray[np.uint8]) -> torch.Tensor:
        """Return the true classes of label maps as channel numbers; see :func:`label_ids`."""
        return label_ids(labels, self.contract, self.classes)

    def check_labels(self, palette: Palette | None) -> None:
        """Make sure that colours mean the same to the segmenter and in a generator's label maps.

        Raises:
            ConfigError: their palettes differ, or there are no label maps.
        """
        if self.contract.palette != palette:
            ours, theirs = (
                f"palette {p.name}" if p else "pictures without a palette"
                for p in (self.contract.palette, palette)
            )
            way_out = "" if palette else "; --label-dir names label maps that lie beside them"
            raise ConfigError(
                f"the segmenter was trained on {ours}, the generator's inputs are {theirs}{way_out}"
            )

    def classify(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return each pixel's channel, (N, H / 2, W / 2) int64, of (N, h, w, 3) uint8 BGR."""
        return torch.cat([self.network(s).argmax(dim=1).cpu() for s in self._signals(images)])

    def features(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return (N, D) float32 texture features of images as for :meth:`classify`."""
        return torch.cat([self.network.features(s).cpu() for s in self._signals(images)])

    def confusion(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> torch.Tensor:
        """Return the confusion matrix (rows true, columns found) of images and their labels."""
        return confusion_matrix(self.label_ids(labels), self.classify(images), len(self.classes))

    def _signals(self, images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
        device = next(self.network.parameters()).device
        preprocess = replace(self.contract, palette=None).preprocess
        with torch.inference_mode():
            for first in range(0, len(images), BATCH):
                batch = np.stack([preprocess(image) for image in images[first : first + BATCH]])
                signal = to_signal(torch.from_numpy(batch).to(device))
                yield signal.contiguous(memory_format=torch.channels_last)

    def save(self, path: Path) -> None:
        """Write the segmenter; an OutputError leaves what stood at ``path``."""
        content: dict[str, Any] = {
            "network": self.network.state_dict(),
            "width": self.network.width,
            "classes": list(self.classes),
            "contract": self.contract.to_json(),
            "photo_score": asdict(self.photo_score),
            "photo_features": asdict(self.photo_features),
            "photo_distance": self.photo_distance,
        }
        write_tensors(path, content, schema=SCHEMA)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Segmenter:
        """Read a segmenter onto ``device``; raise a CheckpointError if it is none, or not sound."""
        content = read_tensors(path, schema=SCHEMA, what="segmenter")
        try:
            network = SegmentationNet(classes=len(content["classes"]), width=content["width"])
            load_weights(network, content["network"], "segmenter")
            network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no overload for both
            return cls(
                network=network,
                classes=tuple(content["classes"]),
                contract=PixelContract.from_json(content["contract"]),
                photo_score=SegmentationScore(**content["photo_score"]),
                photo_features=FeatureStatistics(**content["photo_features"]),
                photo_distance=content["photo_distance"],
            )
        except (KeyError, TypeError, ContractError) as error:
            raise CheckpointError(f"{path} is not a segmenter: {error}") from error


def label_ids(
    labels: NDArray[np.uint8], contract: PixelContract, classes: tuple[int, ...]
) -> torch.Tensor:
    """Return the index in ``classes`` of each scored pixel of label maps.

    A pixel's class is the most frequent one of the 5x5 px around it: in label maps stored as JPEG,
    colours between two classes can be nearest to a third. Void classes count and can be the most
    frequent; other classes that are not scored do not count.

    From (N, h, w, 3) uint8 BGR of any size to (N, H / 2, W / 2) uint8, for a contract of H x W;
    ``IGNORED`` for all other classes.

    Raises:
        ContractError: the contract has no palette.
    """
    if contract.palette is None:
        raise ContractError("a segmenter needs label maps, and these inputs have no palette")
    ids = []
    for label in labels:
        found = contract.palette.to_ids(contract.preprocess(label, repair_labels=False))  # (H, W)
        candidates = (*classes, *void_classes(contract.palette))
        ids.append(_majority(torch.from_numpy(found)[None], candidates, len(classes)))
    return torch.cat(ids).to(torch.uint8)


def _majority(keys: torch.Tensor, candidates: Sequence[int], classes: int) -> torch.Tensor:
    """Return which candidate is most frequent in each window; ``IGNORED`` if it is no class.

    From keys, (N, H, W), to (N, H / 2, W / 2) int64. The first candidates are the classes.
    """
    present = torch.stack([keys == one for one in candidates], dim=1).float()  # (N, K, H, W)
    padded = functional.pad(present, (MAJORITY_PX // 2,) * 4, mode="replicate")
    counts = functional.avg_pool2d(padded, MAJORITY_PX, stride=2, divisor_override=1)
    most, winner = counts.max(dim=1)  # (N, K, H / 2, W / 2) -> (N, H / 2, W / 2)
    return torch.where((most > 0) & (winner < classes), winner, IGNORED)


def void_classes(palette: Palette) -> list[int]:
    """Return the palette indices of the classes among :data:`VOID_CLASSES`."""
    return [index for index, name in enumerate(palette.classes) if name in VOID_CLASSES]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenSegmenter:
    """Computes the classes of generated pictures; gradients flow through to them alone.

    A resumed run must have the same weights, and the same ones must not score the run.
    """

    segmenter: Segmenter
    precision: Precision
    sha256: str

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes, H / 2, W / 2) of images, (N, 3, H, W) RGB in [-1, 1]."""
        with autocast(self.precision, image.device):
            logits: torch.Tensor = self.segmenter.network(image)
        return logits

    @torch.no_grad()
    def target_classes(self, source: torch.Tensor) -> torch.Tensor:
        """Return the class that each pixel should show, as :func:`.label_ids` does.

        From (N, 3, H, W) RGB in [-1, 1], in the palette's own colours, to (N, H / 2, W / 2) int64
        channels of the network; ``IGNORED`` for other classes.
        """
        palette = self.segmenter.contract.palette
        assert palette is not None  # a segmenter without one does not exist
        blue, green, red = to_pixels(source).int().unbind(dim=3)  # (N, H, W) each
        packed = (red << 16) | (green << 8) | blue
        colours = [(r << 16) | (g << 8) | b for r, g, b in palette.colours_rgb]
        candidates = (*self.segmenter.classes, *void_classes(palette))
        return _majority(packed, [colours[c] for c in candidates], len(self.segmenter.classes))


class SegmentationNet(nn.Module):
    """Classifies every second pixel of an image along each axis.

    Four stages compute feature maps at 1/4, 1/8, 1/16 and 1/32 of the image. They are merged from
    the coarsest up by addition, as in a feature pyramid (Lin et al. 2017, arXiv 1612.03144). Width
    32, the channels at 1/4, gives 1.0 M parameters and 0.3 GMAC at 256x256 px.
    """

    def __init__(self, *, classes: int, width: int = 32) -> None:
        super().__init__()
        self.width = width
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(*_convolution(before, after, stride), ResidualBlock(after))
            for before, after, stride in zip([3, *widths[:-1]], widths, (4, 2, 2, 2), strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.smooth = nn.Sequential(*_convolution(width, width))
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes, H / 2, W / 2) of images (N, 3, H, W) in [-1, 1]."""
        maps = self._feature_maps(signal)
        merged: torch.Tensor = self.laterals[-1](maps[-1])  # (N, width, H / 32, W / 32)
        for lateral, fine in zip(reversed(self.laterals[:-1]), reversed(maps[:-1]), strict=True):
            coarse = functional.interpolate(merged, size=fine.shape[2:], mode="bilinear")
            merged = functional.relu(lateral(fine) + coarse)
        logits = self.classifier(self.smooth(merged))  # (N, classes, H / 4, W / 4)
        return functional.interpolate(logits, scale_factor=2, mode="bilinear")

    def features(self, signal: torch.Tensor) -> torch.Tensor:
        """Return each image's mean texture features: (N, 3 width)."""
        maps = self._feature_maps(signal, TEXTURE_STAGES)
        return torch.cat([m.float().mean(dim=(2, 3)) for m in maps], dim=1)

    def _feature_maps(self, signal: torch.Tensor, stages: int | None = None) -> list[torch.Tensor]:
        """Return feature maps of the first ``stages``, or of all: 1/4 to 1/32 of the size."""
        maps = []
        for stage in self.stages[:stages]:
            signal = stage(signal)
            maps.append(signal)
        return maps


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Refine (N, channels, h, w)."""
        return functional.relu(signal + self.body(signal))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    size, padding = (4, 0) if stride == 4 else (3, 1)
    return [
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]
