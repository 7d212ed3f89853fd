"""Score a generator, whatever runs it: a torch module, an ONNX session, a TensorRT engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from p2p_runtime.errors import ConfigError, DatasetError, SourceError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.video.sources import open_source
from p2p_train.data.batches import validation_batches
from p2p_train.data.dataset import PairBatch, PairDataset
from p2p_train.data.labels import open_source as open_pairs
from p2p_train.networks.pixels import to_pixels, to_signal
from p2p_train.segmentation import Segmenter
from p2p_train.training.checkpoint import Checkpoint

from . import (
    FeatureStatistics,
    FixedPattern,
    Flicker,
    LabelFidelity,
    frechet_distance,
    image_l1,
    psnr_db,
    ssim,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .published import PublishedMetrics

__all__ = [
    "ClipFrame",
    "Scores",
    "Translate",
    "clip_frames",
    "score_generator",
    "torch_translate",
    "validation_pairs",
]

Translate = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]
"""(N, H, W, 3) uint8 BGR inputs, fitted to the contract, to generated images of the same shape."""

BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFrame:
    """A moment of a clip.

    Attributes:
        label: the generator's input, (H, W, 3) uint8 BGR.
        photo: the real picture at that moment, of the same shape; None if there is none.
    """

    label: NDArray[np.uint8]
    photo: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What a generator scores, and what real photos score where that can be asked.

    Attributes:
        images: how many pairs were scored.
        l1: mean absolute difference to the photos, in [-1, 1] signal units.
        psnr_db, ssim: means over the images.
        fidelity: how well the judge finds the labels again in the generated images.
        ceiling: the same in the real photos of the same pairs.
        frechet: distance between the generated images and the judge's training photos.
        frechet_floor: distance between the real photos of the pairs and the training photos.
        pattern: what the pictures have in common at the same places, in levels; None when they show
            too little plain surface.
        pattern_real: the same of the real photos.
        lpips: mean distance of a generated image to its photo, by AlexNet's features.
        fid: Frechet distance between generated images and photos, by Inception's features.
        flicker: mean change, in levels, where the label stayed the same.
        flicker_real: the same of the real clip.
    """

    images: int
    l1: float
    psnr_db: float
    ssim: float
    fidelity: LabelFidelity | None = None
    ceiling: LabelFidelity | None = None
    frechet: float | None = None
    frechet_floor: float | None = None
    pattern: float | None = None
    pattern_real: float | None = None
    lpips: float | None = None
    fid: float | None = None
    flicker: float | None = None
    flicker_real: float | None = None

    @property
    def flicker_excess(self) -> float | None:
        """How many levels more the generated clip changes than the real one; below 0: less."""
        if self.flicker is None or self.flicker_real is None:
            return None
        return self.flicker - self.flicker_real

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what was not measured is null."""
        return {**asdict(self), "flicker_excess": self.flicker_excess}

    def table(self) -> str:
        """Return the scores as lines of text, real photos beside the generated images."""
        rows: list[tuple[str, float | None, float | None]] = [
            ("L1, signal units", self.l1, None),
            ("PSNR, dB", self.psnr_db, None),
            ("SSIM", self.ssim, None),
        ]
        if self.fidelity is not None and self.ceiling is not None:
            real = asdict(self.ceiling)
            rows += [
                (name.replace("_", " ").replace("iou", "IoU"), value, real[name])
                for name, value in asdict(self.fidelity).items()
            ]
        rows.append(("Frechet distance", self.frechet, self.frechet_floor))
        rows.append(("fixed pattern, levels", self.pattern, self.pattern_real))
        rows += [("LPIPS, AlexNet", self.lpips, None), ("FID", self.fid, None)]
        rows.append(("flicker, levels", self.flicker, self.flicker_real))
        rows.append(("flicker above real", self.flicker_excess, None))
        head = f"{f'{self.images} validation pairs':24}{'generated':>12}{'real photos':>14}"
        measured = [row for row in rows if row[1] is not None]
        return "\n".join([head, *(f"{n:24}{_cell(a):>12}{_cell(b):>14}" for n, a, b in measured)])


def score_generator(
    translate: Translate,
    pairs: Iterable[PairBatch],
    *,
    judge: Segmenter | None = None,
    published: PublishedMetrics | None = None,
    clip: Iterable[ClipFrame] | None = None,
) -> Scores:
    """Measure what ``translate`` makes of the inputs of ``pairs``, and of a clip.

    Args:
        translate: the generator as it ships, called with batches of the pairs' size and with
            single frames of the clip.
        pairs: inputs and photos, as :func:`validation_pairs` yields them.
        judge: for label fidelity and Frechet distance.
        published: for LPIPS and FID.
        clip: consecutive frames, for flicker.

    Raises:
        DatasetError: a pair is unreadable, or a judge was given a single one.
        SourceError: a frame of the clip is unreadable, or it has nothing to measure flicker on.
    """
    distances: list[torch.Tensor] = []
    made_pattern, real_pattern = FixedPattern(), FixedPattern()
    tallies: dict[str, _Tally] = {} if judge is None else {"made": _Tally(), "real": _Tally()}
    for batch in pairs:
        made = translate(batch.source.numpy())
        image = torch.from_numpy(np.ascontiguousarray(made))
        distances.append(
            torch.stack([f(image, batch.target) for f in (image_l1, psnr_db, ssim)], dim=1)
        )
        for label, picture, photo in zip(
            batch.source.numpy(), made, batch.target.numpy(), strict=True
        ):
            made_pattern.add(label, picture)
            real_pattern.add(label, photo)
        if judge is not None:
            tallies["made"].add(judge, made, batch)
            tallies["real"].add(judge, batch.target.numpy(), batch)
        if published is not None:
            published.add(made, batch.target.numpy())
    images = sum(map(len, distances))
    if judge is not None and images < 2:
        raise DatasetError("a judge compares two validation pairs or more with the training photos")
    means = torch.cat(distances).mean(dim=0).tolist()
    scores = Scores(
        images=images,
        l1=means[0],
        psnr_db=means[1],
        ssim=means[2],
        pattern=made_pattern.levels(),
        pattern_real=real_pattern.levels(),
    )
    if judge is not None:
        scores = replace(
            scores,
            fidelity=tallies["made"].fidelity(),
            ceiling=tallies["real"].fidelity(),
            frechet=tallies["made"].distance(judge),
            frechet_floor=tallies["real"].distance(judge),
        )
    if published is not None:
        scores = replace(scores, lpips=published.lpips(), fid=published.fid())
    return scores if clip is None else _with_flicker(scores, translate, clip)


class _Tally:
    """Collects what a judge says of one kind of images."""

    def __init__(self) -> None:
        self._confusion = torch.zeros(())
        self._features: list[torch.Tensor] = []

    def add(self, judge: Segmenter, images: NDArray[np.uint8], batch: PairBatch) -> None:
        self._confusion = self._confusion + judge.confusion(images, batch.source.numpy())
        self._features.append(judge.features(images))

    def fidelity(self) -> LabelFidelity:
        return LabelFidelity.of(self._confusion)

    def distance(self, judge: Segmenter) -> float:
        return frechet_distance(FeatureStatistics.of(torch.cat(self._features)), judge.photos)


def _with_flicker(scores: Scores, translate: Translate, clip: Iterable[ClipFrame]) -> Scores:
    made, real = Flicker(), Flicker()
    for frame in clip:
        made.add(frame.label, translate(frame.label[None])[0])
        if frame.photo is not None:
            real.add(frame.label, frame.photo)
    if made.levels() is None:
        raise SourceError(
            "no two consecutive frames of the clip share a label pixel, so there is no flicker "
            "to measure; --clip takes a video, or a folder of label maps in the palette's colours"
        )
    return replace(scores, flicker=made.levels(), flicker_real=real.levels())


def torch_translate(checkpoint: Checkpoint, device: torch.device) -> Translate:
    """Return the checkpoint's generator as it ships: eval mode, fp32, in batches of 8."""
    generator = checkpoint.build_generator()
    generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's

    @torch.inference_mode()
    def translate(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        made = []
        for part in torch.split(torch.from_numpy(frames), BATCH):
            signal = to_signal(part.to(device)).contiguous(memory_format=torch.channels_last)
            made.append(to_pixels(generator(signal)).cpu())
        return np.asarray(torch.cat(made).numpy(), np.uint8)

    return translate


def validation_pairs(checkpoint: Checkpoint, data: Path | None = None) -> Iterator[PairBatch]:
    """Yield the validation pairs of a checkpoint's data set, 8 at a time.

    Args:
        checkpoint: its settings name the data set and its contract fits the inputs.
        data: where the data set lies now; None for where it lay when training.

    Raises:
        DatasetError: the pairs are missing or broken.
    """
    config = checkpoint.config
    if data is not None:
        config = replace(config, data=str(data))
    return validation_batches(PairDataset(open_pairs(config).pairs.val, checkpoint.contract), BATCH)


def clip_frames(
    labels: str, contract: PixelContract, photos: str | None = None
) -> Iterator[ClipFrame]:
    """Read a clip, fitted to the contract.

    Args:
        labels: a video or a folder of label maps in the palette's colours.
        contract: of the generator.
        photos: a video or a folder with the real pictures of the same moments, in order.

    Raises:
        SourceError: one of the two cannot be read.
        ConfigError: there are not as many photos as labels.
    """
    fit_photo = replace(contract, palette=None).preprocess
    reals = iter(()) if photos is None else iter(open_source(photos))
    for frame in open_source(labels):
        label = contract.preprocess(frame.image)
        if photos is None:
            yield ClipFrame(label=label)
            continue
        real = next(reals, None)
        if real is None:
            raise ConfigError(f"{photos} has fewer frames than {labels}; they belong together")
        yield ClipFrame(label=label, photo=fit_photo(real.image))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
