"""What an exported graph is compared with, and how it is run: in the device's own engine.

The reference is the torch module as it was trained, before folding, rewriting and rounding.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_runtime.engines import Engine, open_engine
from p2p_runtime.errors import ExportError
from p2p_runtime.files import write_bytes
from p2p_runtime.model.bundle import BundleInfo, ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.onnx_check import payload_sha256
from p2p_train.metrics.labels import SegmentationScore, confusion_matrix
from p2p_train.segmentation import Segmenter

from .parity import ParityReport, compare, is_one_colour

__all__ = ["GOLDEN_SEED", "Measurement", "Reference", "SegmentationCheck", "measure", "run_torch"]

GOLDEN_SEED = 1
"""Seed of the golden frame."""


class SegmentationCheck:
    """Scores images by how well a segmenter finds the labels that they were generated from.

    Args:
        segmenter: trained on real photos with the same palette.
        frames: label maps as inputs of the generator, (N, H, W, 3) uint8 BGR.
        images: the torch module's images of them, (N, H, W, 3) uint8 BGR.

    Attributes:
        frames: as given.
        trained: score of the torch module's images.
    """

    def __init__(
        self, segmenter: Segmenter, frames: NDArray[np.uint8], images: NDArray[np.uint8]
    ) -> None:
        self._segmenter = segmenter
        self._labels = segmenter.label_ids(frames)
        self.frames = frames
        self.trained = self.score(images)

    def score(self, images: NDArray[np.uint8]) -> SegmentationScore:
        """Return the segmentation score of ``images``, one for each of :attr:`frames`."""
        found = self._segmenter.classify(images)
        classes = len(self._segmenter.classes)
        return SegmentationScore.of(confusion_matrix(self._labels, found, classes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What every exported file of one checkpoint is compared with.

    Attributes:
        contract: the checkpoint's.
        frames: inputs, (N, H, W, 3) uint8 BGR.
        images: the torch module's images of them, (N, H, W, 3) uint8 BGR.
        made_up: number of frames that are copies, see :func:`p2p_export.frames.top_up`.
        generator: architecture, for the bundle.
        provenance: origin of the weights, for the bundle.
        segmentation: the segmenter's check, if one was given.
    """

    contract: PixelContract
    frames: NDArray[np.uint8]
    images: NDArray[np.uint8]
    made_up: int = 0
    generator: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    segmentation: SegmentationCheck | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A graph's (N, H, W, 3) images of the reference's frames, and (H, W, 3) of the golden one."""

    images: NDArray[np.uint8]
    golden: NDArray[np.uint8]
    report: ParityReport


def measure(graph: bytes, reference: Reference, precision: str, folder: Path) -> Measurement:
    """Run a graph in the device's engine and compare it with the reference.

    ``graph`` is a serialised ONNX model without metadata. ``folder`` takes a temporary file.
    """
    info = BundleInfo(
        contract=reference.contract,
        precision=precision,
        golden=GoldenFrame.record(reference.images[0], GOLDEN_SEED),  # required, not used here
        payload_sha256=payload_sha256(graph),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".p2p-export-", dir=folder) as scratch:
        draft = Path(scratch) / "draft.onnx"
        write_bytes(draft, graph)
        engine = open_engine(ModelBundle(path=draft, info=info), device="cpu")
        try:
            images = _run_engine(engine, reference.frames)
            golden_frame = GoldenFrame.draw(reference.contract, GOLDEN_SEED)
            golden = engine.infer(golden_frame[np.newaxis])[0]
            report = compare(
                reference.images, images, precision=precision, made_up=reference.made_up
            )
            if (check := reference.segmentation) is not None:
                score = check.score(_run_engine(engine, check.frames))
                report = replace(
                    report, segmentation_score=score, trained_segmentation_score=check.trained
                )
        finally:
            engine.close()
    return Measurement(images=images, golden=golden, report=report)


@torch.inference_mode()
def run_torch(module: nn.Module, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Run a pixel generator, frame by frame as a device does.

    Args:
        module: a :class:`.PixelGenerator`.
        frames: (N, H, W, 3) uint8 BGR.

    Returns:
        (N, H, W, 3) uint8 BGR.

    Raises:
        ExportError: a weight is NaN or infinite, every image has one colour (what NaN becomes), or
            two runs differ (dropout or batch statistics are on).
    """
    if not all(bool(value.isfinite().all()) for value in module.state_dict().values()):
        raise ExportError("the checkpoint's generator holds weights that are not numbers")
    images = np.concatenate([module(torch.from_numpy(frame[None])).numpy() for frame in frames])
    if all(is_one_colour(image) for image in images):
        raise ExportError("the checkpoint's generator returns one colour for every frame")
    if not np.array_equal(module(torch.from_numpy(frames[:1])).numpy(), images[:1]):
        raise ExportError("the generator returns two images for one frame: it is not in eval mode")
    return images


def _run_engine(engine: Engine, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([engine.infer(frame[None]) for frame in frames])
