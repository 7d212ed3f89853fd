"""Does the exported file compute what was trained? Measured on real frames, with hard gates.

The file runs in the engine that the device uses; the reference is the torch module as it was
trained, before anything was folded, rewritten or rounded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from p2p_runtime.errors import ExportError, ParityError
from p2p_train.metrics import SegmentationScore, psnr_db, ssim

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from p2p_runtime.engines import Engine

__all__ = ["MIN_FRAMES", "ParityReport", "compare", "picture", "run_engine", "run_torch"]

MIN_FRAMES = 8

FP32_WITHIN_ONE = 0.999
FP32_MAX_LEVELS = 2
"""Sums taken in another order move a value across a rounding edge, rarely further."""

MIN_PSNR_DB = {"fp16": (50.0, 0.0), "int8": (40.0, 38.0)}
"""Least mean and least worst PSNR; 40 dB is where differences stop being seen."""

MOST_FIDELITY_LOST = 0.005
"""Half a point, in each of the judge's three numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """How far an exported file is from the torch module, in levels of 0-255.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``; decides the gates.
        frames: frames compared.
        made_up: how many of them are mirrored or shifted copies, for want of real ones.
        max_levels: greatest difference of a value.
        mean_levels: mean difference of a value.
        within_one: share (0-1) of values that differ by at most one level.
        psnr_db: mean over the frames; 99 for equal ones.
        worst_psnr_db: least over the frames.
        ssim: mean structural similarity of brightness, 1 for equal frames.
        worst_frame: index of the frame with the least PSNR.
        constant_frames: frames that came out in one colour though the reference did not.
        fidelity: how well a judge finds the labels in the exported file's images, if one was given.
        trained_fidelity: the same of the torch module's images of the same inputs.
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
    fidelity: SegmentationScore | None = None
    trained_fidelity: SegmentationScore | None = None

    @property
    def fidelity_gained(self) -> dict[str, float]:
        """Each of the judge's numbers less the torch module's; empty without a judge."""
        if self.fidelity is None or self.trained_fidelity is None:
            return {}
        trained = asdict(self.trained_fidelity)
        return {name: value - trained[name] for name, value in asdict(self.fidelity).items()}

    def failures(self) -> list[str]:
        """Return the gates that this report does not pass, in words."""
        found = []
        if self.constant_frames:
            found.append(f"{self.constant_frames} of {self.frames} frames came out in one colour")
        found += [
            f"the judge's {name.replace('_', ' ')} falls by {-100 * gained:.2f} points, not 0.5"
            for name, gained in self.fidelity_gained.items()
            if not gained >= -MOST_FIDELITY_LOST
        ]
        if self.precision == "fp32":
            if not self.within_one >= FP32_WITHIN_ONE:
                found.append(f"{self.within_one:.2%} of values within one level, not 99.9 %")
            if not self.max_levels <= FP32_MAX_LEVELS:
                found.append(f"values differ by up to {self.max_levels} levels, 2 are allowed")
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
            ParityError: one is missed; the message says which and by how much.
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
        constant_frames=sum(_is_constant(two) and not _is_constant(one) for one, two in pairs),
    )


@torch.inference_mode()
def run_torch(module: nn.Module, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Run a pixel generator, frame by frame as a device does.

    Args:
        module: a :class:`p2p_export.graph.pixel_generator.PixelGenerator`.
        frames: (N, H, W, 3) uint8 BGR.

    Returns:
        (N, H, W, 3) uint8 BGR.

    Raises:
        ExportError: a weight is not a number, all images are of one colour (what NaN becomes), or
            two runs differ (something random is left on).
    """
    if not all(bool(value.isfinite().all()) for value in module.state_dict().values()):
        raise ExportError("the checkpoint's generator holds weights that are not numbers")
    images = np.concatenate([module(torch.from_numpy(frame[None])).numpy() for frame in frames])
    if all(_is_constant(image) for image in images):
        raise ExportError("the checkpoint's generator answers every frame with one colour")
    if not np.array_equal(module(torch.from_numpy(frames[:1])).numpy(), images[:1]):
        raise ExportError("the generator answers one frame in two ways: it is not in eval mode")
    return images


def run_engine(engine: Engine, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Run an exported file over (N, H, W, 3) uint8 BGR frames, one at a time."""
    return np.concatenate([engine.infer(frame[None]) for frame in frames])


def picture(
    expected: NDArray[np.uint8], actual: NDArray[np.uint8], gain: int = 8
) -> NDArray[np.uint8]:
    """Return torch | exported | difference times ``gain``, side by side, of (H, W, 3) images."""
    levels = np.abs(expected.astype(np.int16) - actual.astype(np.int16)) * gain
    return np.concatenate([expected, actual, levels.clip(0, 255).astype(np.uint8)], axis=1)


def _is_constant(image: NDArray[np.uint8]) -> bool:
    return bool((image == image[0, 0]).all())
