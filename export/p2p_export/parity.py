"""How far an exported graph is from the torch module as trained, and the gates that it must pass.

Graphs run in the device's own engine. The torch module is that before folding and rounding.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_runtime.engines import Engine, open_engine
from p2p_runtime.errors import ExportError, ParityError
from p2p_runtime.files import scratch_folder, write_bytes
from p2p_runtime.model.bundle import BundleInfo, ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.onnx_check import payload_sha256
from p2p_train.metrics.evaluator import SegmentationScore
from p2p_train.metrics.images import psnr_db, ssim
from p2p_train.segmentation.segmenter import Segmenter

__all__ = [
    "GOLDEN_SEED", "Measurement", "ParityReport", "Reference", "SegmentationCheck", "compare",
    "measure", "picture", "run_torch",
]  # fmt: skip

GOLDEN_SEED = 1
"""Seed of the golden frame."""

FP32_WITHIN_ONE = 0.999
"""Minimum share of fp32 values within one level."""

FP32_MAX_LEVELS = 2
"""Maximum difference of an fp32 value: another order of summation may cross a rounding edge."""

MIN_PSNR_DB = {"fp16": (50.0, 0.0), "int8": (40.0, 38.0)}
"""Minimum of the mean and of the worst PSNR; from 40 dB on, differences are invisible."""

MAX_SCORE_LOSS = 0.005
"""Maximum loss of each figure of the segmentation score: half a percentage point."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """The difference between an exported file and the torch module, in levels of 0 to 255.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``; decides the gates.
        frames: number of frames compared.
        made_up: number of these that are mirrored or shifted copies, for want of real ones.
        max_levels, mean_levels: largest and mean difference of a value.
        within_one: share (0-1) of values that differ by at most one level.
        psnr_db, worst_psnr_db: mean and minimum over the frames; 99 for equal ones.
        ssim: mean structural similarity of brightness, 1 for equal frames.
        worst_frame: index of the frame with the lowest PSNR.
        constant_frames: number of frames in one colour although the reference has several.
        segmentation_score: of the exported file's images, if a segmenter was given.
        trained_segmentation_score: of the torch module's images of the same inputs.
    """

    precision: str
    frames: int
    made_up: int = 0
    max_levels: int
    mean_levels: float
    within_one: float
    psnr_db: float
    worst_psnr_db: float
    ssim: float
    worst_frame: int
    constant_frames: int
    segmentation_score: SegmentationScore | None = None
    trained_segmentation_score: SegmentationScore | None = None

    @property
    def score_change(self) -> dict[str, float]:
        """Each figure of the segmentation score minus the torch module's; empty without them."""
        if self.segmentation_score is None or self.trained_segmentation_score is None:
            return {}
        trained = asdict(self.trained_segmentation_score)
        score = asdict(self.segmentation_score)
        return {name: value - trained[name] for name, value in score.items()}

    def failures(self) -> list[str]:
        """Return the gates that the file misses, in words; comparisons with NaN miss."""
        constant = f"{self.constant_frames} of {self.frames} frames came out in one colour"
        gates = [(self.constant_frames == 0, constant)]
        for name, change in self.score_change.items():
            falls = f"{name.replace('_', ' ')} falls by {-100 * change:.2f} points"
            loss = f"segmentation score: {falls}; 0.5 are allowed"
            gates.append((change >= -MAX_SCORE_LOSS, loss))
        if self.precision == "fp32":
            within = f"{self.within_one:.2%} of values are within one level, not 99.9 %"
            levels = f"values differ by up to {self.max_levels} levels; 2 are allowed"
            gates.append((self.within_one >= FP32_WITHIN_ONE, within))
            gates.append((self.max_levels <= FP32_MAX_LEVELS, levels))
        else:
            mean, worst = MIN_PSNR_DB[self.precision]
            low = f"mean PSNR {self.psnr_db:.1f} dB is under {mean:.0f} dB"
            frame = f"PSNR of frame {self.worst_frame} is {self.worst_psnr_db:.1f} dB"
            gates.append((self.psnr_db >= mean, low))
            gates.append((self.worst_psnr_db >= worst, f"{frame}, under {worst:.0f} dB"))
        return [reason for passed, reason in gates if not passed]

    def require(self) -> None:
        """Raise a ParityError, which says by how much, if the file misses a gate."""
        if found := "; ".join(self.failures()):
            raise ParityError(
                f"the {self.precision} model does not compute what was trained: {found}"
            )


class SegmentationCheck:
    """Scores images by how well a segmenter finds the labels that they were generated from.

    Those are ``frames``, inputs of the generator, (N, H, W, 3) uint8 BGR; ``images`` are what the
    torch module makes of them, and :attr:`trained` is their score.
    """

    def __init__(self, segmenter: Segmenter, frames: Pixels, images: Pixels) -> None:
        self._segmenter, self.frames = segmenter, frames
        self.trained = self.score(images)

    def score(self, images: Pixels) -> SegmentationScore:
        """Return the segmentation score of ``images``, one for each of :attr:`frames`."""
        return SegmentationScore.of(self._segmenter.confusion(images, self.frames))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What every exported file of one checkpoint is compared with.

    Attributes:
        frames, images: inputs and the torch module's images of them, (N, H, W, 3) uint8 BGR.
        made_up: number of frames that are copies, see :func:`p2p_export.inputs.top_up`.
        generator, provenance: architecture and origin of the weights, for the bundle.
        segmentation: the segmenter's check, if one was given.
    """

    contract: PixelContract
    frames: Pixels
    images: Pixels
    made_up: int = 0
    generator: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    segmentation: SegmentationCheck | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A graph's (N, H, W, 3) images of the reference's frames, and (H, W, 3) of the golden one."""

    images: Pixels
    golden: Pixels
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
    with scratch_folder(folder) as scratch:
        draft = scratch / "draft.onnx"
        write_bytes(draft, graph)
        with closing(open_engine(ModelBundle(path=draft, info=info), device="cpu")) as engine:
            images = _run_engine(engine, reference.frames)
            golden = engine.infer(GoldenFrame.draw(reference.contract, GOLDEN_SEED)[None])[0]
            score = trained = None
            if (check := reference.segmentation) is not None:
                score, trained = check.score(_run_engine(engine, check.frames)), check.trained
    report = replace(
        compare(reference.images, images, precision=precision),
        made_up=reference.made_up,
        segmentation_score=score,
        trained_segmentation_score=trained,
    )
    return Measurement(images=images, golden=golden, report=report)


def compare(expected: Pixels, actual: Pixels, *, precision: str) -> ParityReport:
    """Measure ``actual`` against ``expected``, both (N, H, W, 3) uint8 BGR."""
    levels = np.abs(expected.astype(np.int16) - actual.astype(np.int16))
    images, targets = torch.from_numpy(actual), torch.from_numpy(expected)
    psnr = psnr_db(images, targets).numpy()  # (N,)
    pairs = zip(expected, actual, strict=True)
    return ParityReport(
        precision=precision,
        frames=len(expected),
        max_levels=int(levels.max()),
        mean_levels=round(float(levels.mean()), 6),
        within_one=round(float((levels <= 1).mean()), 6),
        psnr_db=round(float(psnr.mean()), 2),
        worst_psnr_db=round(float(psnr.min()), 2),
        ssim=round(float(ssim(images, targets).mean()), 6),
        worst_frame=int(psnr.argmin()),
        constant_frames=sum(_is_one_colour(two) and not _is_one_colour(one) for one, two in pairs),
    )


def picture(expected: Pixels, actual: Pixels) -> Pixels:
    """Return torch | exported | 8 times the difference, from (H, W, 3) uint8 BGR to (H, 3 W, 3)."""
    levels = 8 * np.abs(expected.astype(np.int16) - actual.astype(np.int16))
    return np.concatenate([expected, actual, levels.clip(0, 255).astype(np.uint8)], axis=1)


@torch.inference_mode()
def run_torch(module: nn.Module, frames: Pixels) -> Pixels:
    """Run a pixel generator, (N, H, W, 3) uint8 BGR to the same, frame by frame as a device does.

    Raises:
        ExportError: a weight is NaN or infinite, every image has one colour (what NaN becomes), or
            two runs differ (dropout or batch statistics are on).
    """
    if not all(bool(value.isfinite().all()) for value in module.state_dict().values()):
        raise ExportError("the checkpoint's generator holds weights that are not numbers")
    images = np.concatenate([module(torch.from_numpy(frame[None])).numpy() for frame in frames])
    if all(_is_one_colour(image) for image in images):
        raise ExportError("the checkpoint's generator returns one colour for every frame")
    if not np.array_equal(module(torch.from_numpy(frames[:1])).numpy(), images[:1]):
        raise ExportError("the generator returns two images for one frame: it is not in eval mode")
    return images


def _run_engine(engine: Engine, frames: Pixels) -> Pixels:
    return np.concatenate([engine.infer(frame[None]) for frame in frames])


def _is_one_colour(image: Pixels) -> bool:
    return bool((image == image[0, 0]).all())
