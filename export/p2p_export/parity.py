"""How far an exported file is from the torch module, and the gates that it has to pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from p2p_runtime.errors import ParityError
from p2p_train.metrics.images import psnr_db, ssim
from p2p_train.metrics.labels import SegmentationScore

__all__ = ["ParityReport", "compare", "is_one_colour", "picture"]

FP32_WITHIN_ONE = 0.999
"""Minimum share of fp32 values within one level."""

FP32_MAX_LEVELS = 2
"""Maximum difference of an fp32 value. Another order of summation moves values across a rounding
edge, rarely further."""

MIN_PSNR_DB = {"fp16": (50.0, 0.0), "int8": (40.0, 38.0)}
"""Minimum of the mean and of the worst PSNR; from 40 dB on, differences are invisible."""

MAX_SCORE_LOSS = 0.005
"""Maximum loss of each figure of the segmentation score: half a percentage point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """The difference between an exported file and the torch module, in levels of 0 to 255.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``; decides the gates.
        frames: number of frames compared.
        made_up: number of these that are mirrored or shifted copies, for want of real ones.
        max_levels: largest difference of a value.
        mean_levels: mean difference of a value.
        within_one: share (0-1) of values that differ by at most one level.
        psnr_db: mean over the frames; 99 for equal ones.
        worst_psnr_db: minimum over the frames.
        ssim: mean structural similarity of brightness, 1 for equal frames.
        worst_frame: index of the frame with the lowest PSNR.
        constant_frames: number of frames in one colour although the reference has several.
        segmentation_score: of the exported file's images, if a segmenter was given.
        trained_segmentation_score: of the torch module's images of the same inputs.
    """

    precision: str
    frames: int
    made_up: int
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
        found = []
        if self.constant_frames:
            found.append(f"{self.constant_frames} of {self.frames} frames came out in one colour")
        found += [
            f"segmentation score: {name.replace('_', ' ')} falls by {-100 * change:.2f} points; "
            "0.5 are allowed"
            for name, change in self.score_change.items()
            if not change >= -MAX_SCORE_LOSS
        ]
        if self.precision == "fp32":
            if not self.within_one >= FP32_WITHIN_ONE:
                found.append(f"{self.within_one:.2%} of values are within one level, not 99.9 %")
            if not self.max_levels <= FP32_MAX_LEVELS:
                found.append(f"values differ by up to {self.max_levels} levels; 2 are allowed")
            return found
        mean, worst = MIN_PSNR_DB[self.precision]
        if not self.psnr_db >= mean:
            found.append(f"mean PSNR {self.psnr_db:.1f} dB is under {mean:.0f} dB")
        if not self.worst_psnr_db >= worst:
            found.append(
                f"PSNR of frame {self.worst_frame} is {self.worst_psnr_db:.1f} dB, "
                f"under {worst:.0f} dB"
            )
        return found

    def require(self) -> None:
        """Check the gates.

        Raises:
            ParityError: the file misses one; the message says which and by how much.
        """
        if found := self.failures():
            raise ParityError(
                f"the {self.precision} model does not compute what was trained: {'; '.join(found)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def compare(
    expected: NDArray[np.uint8], actual: NDArray[np.uint8], *, precision: str, made_up: int = 0
) -> ParityReport:
    """Measure ``actual`` against ``expected``, both (N, H, W, 3) uint8 BGR."""
    levels = np.abs(expected.astype(np.int16) - actual.astype(np.int16))
    images, targets = torch.from_numpy(actual), torch.from_numpy(expected)
    psnr = psnr_db(images, targets).numpy()  # (N,)
    pairs = list(zip(expected, actual, strict=True))
    return ParityReport(
        precision=precision,
        frames=len(expected),
        made_up=made_up,
        max_levels=int(levels.max()),
        mean_levels=round(float(levels.mean()), 6),
        within_one=round(float((levels <= 1).mean()), 6),
        psnr_db=round(float(psnr.mean()), 2),
        worst_psnr_db=round(float(psnr.min()), 2),
        ssim=round(float(ssim(images, targets).mean()), 6),
        worst_frame=int(psnr.argmin()),
        constant_frames=sum(is_one_colour(two) and not is_one_colour(one) for one, two in pairs),
    )


def picture(
    expected: NDArray[np.uint8], actual: NDArray[np.uint8], gain: int = 8
) -> NDArray[np.uint8]:
    """Return torch | exported | difference times ``gain`` side by side, (H, 3 * W, 3) uint8 BGR.

    Args:
        expected, actual: (H, W, 3) uint8 BGR.
        gain: factor that makes differences visible.
    """
    levels = np.abs(expected.astype(np.int16) - actual.astype(np.int16)) * gain
    return np.concatenate([expected, actual, levels.clip(0, 255).astype(np.uint8)], axis=1)


def is_one_colour(image: NDArray[np.uint8]) -> bool:
    """Return whether all pixels of an (H, W, 3) image are equal."""
    return bool((image == image[0, 0]).all())
