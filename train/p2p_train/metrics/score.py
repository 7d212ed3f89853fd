"""Score a generator, whatever runs it: a torch module, an ONNX session, a TensorRT engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_runtime.errors import DatasetError, SourceError
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.data.batches import validation_batches
from p2p_train.data.dataset import PairBatch, PairDataset
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts.index import PairIndex, evenly_spread
from p2p_train.networks.pixels import to_pixels, to_signal

from .clips import ClipFrame, Flicker, WarpError
from .evaluator import Evaluator, FeatureStatistics, SegmentationScore, frechet_distance
from .images import eval_mode, image_l1, psnr_db, ssim
from .pattern import FixedPattern
from .published import ImageNetScore, PublishedMetrics

__all__ = [
    "Scores", "Translate", "counted", "distances_of", "evaluate", "other_photos", "pairs_of",
    "score_generator", "torch_translate", "validation_pairs",
]  # fmt: skip

Translate = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From preprocessed inputs, (N, H, W, 3) uint8 BGR, to generated images of the same shape."""

BATCH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores of a generator; those named ``_real`` are of the real photos of the same inputs.

    Attributes:
        images: number of pairs.
        l1: mean absolute difference to the photos, in [-1, 1] signal units.
        psnr_db, ssim: means over the images.
        segmentation: segmentation score.
        frechet: distance to the segmenter's training photos, in its features.
        pattern: fixed-pattern noise, in levels; None if the pictures show too little plain surface.
        imagenet: distances to the photos in ImageNet features; ``imagenet_real`` is of other
            photos.
        flicker: mean change, in levels, where the label stayed the same.
        warp_error: mean change, in levels, along the motion of the clip's real photos.
        usefulness: on the real validation photos, of a segmenter trained on generated pictures;
            ``usefulness_colours`` is of one trained on the label colours.
    """

    images: int
    l1: float
    psnr_db: float
    ssim: float
    segmentation: SegmentationScore | None = None
    segmentation_real: SegmentationScore | None = None
    frechet: float | None = None
    frechet_real: float | None = None
    pattern: float | None = None
    pattern_real: float | None = None
    imagenet: ImageNetScore | None = None
    imagenet_real: ImageNetScore | None = None
    flicker: float | None = None
    flicker_real: float | None = None
    warp_error: float | None = None
    warp_error_real: float | None = None
    usefulness: SegmentationScore | None = None
    usefulness_real: SegmentationScore | None = None
    usefulness_colours: SegmentationScore | None = None

    @property
    def flicker_excess(self) -> float | None:
        """Flicker of the generated clip less that of the real one, in levels."""
        both = self.flicker, self.flicker_real
        return None if both[0] is None or both[1] is None else both[0] - both[1]

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
        rows += _rows(self.segmentation, self.segmentation_real)
        rows += _rows(self.imagenet, self.imagenet_real)
        rows += [
            ("Frechet distance", self.frechet, self.frechet_real),
            ("fixed pattern, levels", self.pattern, self.pattern_real),
            ("flicker, levels", self.flicker, self.flicker_real),
            ("flicker above real", self.flicker_excess, None),
            ("warp error, levels", self.warp_error, self.warp_error_real),
            *_rows(self.usefulness, self.usefulness_real, "trained on it, "),
            *_rows(self.usefulness_colours, self.usefulness_real, "on colours, "),
        ]
        head = f"{f'{self.images} validation pairs':24}{'generated':>12}{'real photos':>14}"
        lines = (f"{n:24}{_cell(a):>12}{_cell(b):>14}" for n, a, b in rows if a is not None)
        return "\n".join([head, *lines])


def score_generator(
    translate: Translate,
    pairs: Iterable[PairBatch],
    *,
    segmenter: Evaluator | None = None,
    published: PublishedMetrics | None = None,
    clip: Iterable[ClipFrame] | None = None,
) -> Scores:
    """Measure the images that ``translate`` generates from ``pairs``, and from a clip.

    The segmenter is for the segmentation score and the Frechet distance, ``published`` for those in
    ImageNet features, the clip for flicker; what is None is left out.

    Raises:
        DatasetError: a pair is unreadable, or a segmenter was given with a single pair.
        SourceError: a frame of the clip is unreadable, or it has nothing to measure flicker on.
    """
    distances: list[torch.Tensor] = []
    generated, real = _Tally(segmenter), _Tally(segmenter)
    for batch in pairs:
        labels, photos = batch.label_maps.numpy(), batch.target.numpy()
        pixels = np.ascontiguousarray(translate(batch.source.numpy()))
        made = counted(torch.from_numpy(pixels), batch)
        distances.append(distances_of(made, batch))
        images = made.numpy()
        generated.add(labels, images)
        real.add(labels, photos)
        if published is not None:
            published.add(images, photos)
    scores = _mean(distances)
    if segmenter is not None and scores.images < 2:
        raise DatasetError("a Frechet distance needs two validation pairs or more; there is one")
    scores = replace(
        scores,
        segmentation=generated.segmentation(),
        segmentation_real=real.segmentation(),
        frechet=generated.frechet(),
        frechet_real=real.frechet(),
        pattern=generated.pattern.levels(),
        pattern_real=real.pattern.levels(),
        imagenet=None if published is None else published.score(),
        imagenet_real=None if published is None else published.floor(),
    )
    return scores if clip is None else _with_flicker(scores, translate, clip)


def counted(images: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Return generated images, (N, H, W, 3), with the photo where pixels of a pair do not count."""
    if batch.ignored is None:
        return images
    return torch.where(batch.ignored[..., None], batch.target, images)


def distances_of(images: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Return L1, PSNR and SSIM of images, (N, H, W, 3) uint8 BGR, to the photos of a batch: (N, 3).

    The units are those of :class:`Scores`.
    """
    both = images, batch.target
    return torch.stack([image_l1(*both), psnr_db(*both), ssim(*both)], dim=1)


def _mean(distances: list[torch.Tensor]) -> Scores:
    l1, psnr, similarity = torch.cat(distances).mean(dim=0).tolist()
    return Scores(images=sum(map(len, distances)), l1=l1, psnr_db=psnr, ssim=similarity)


class _Tally:
    """Collects what is measured of generated images and of real photos alike."""

    def __init__(self, segmenter: Evaluator | None) -> None:
        self._segmenter = segmenter
        self._confusion = torch.zeros(())
        self._features: list[torch.Tensor] = []
        self.pattern = FixedPattern()

    def add(self, labels: NDArray[np.uint8], images: NDArray[np.uint8]) -> None:
        """Add inputs and their images, (N, H, W, 3) uint8 BGR each."""
        for label, image in zip(labels, images, strict=True):
            self.pattern.add(label, image)
        if self._segmenter is not None:
            self._confusion = self._confusion + self._segmenter.confusion(images, labels)
            self._features.append(self._segmenter.features(images))

    def segmentation(self) -> SegmentationScore | None:
        return None if self._segmenter is None else SegmentationScore.of(self._confusion)

    def frechet(self) -> float | None:
        if self._segmenter is None:
            return None
        found = FeatureStatistics.of(torch.cat(self._features))
        return frechet_distance(found, self._segmenter.photo_features)


def _with_flicker(scores: Scores, translate: Translate, clip: Iterable[ClipFrame]) -> Scores:
    generated, real, warp, warp_real = Flicker(), Flicker(), WarpError(), WarpError()
    for frame in clip:
        image = translate(frame.label[None])[0]
        generated.add(frame.label, image)
        if frame.photo is not None:
            real.add(frame.label, frame.photo)
            warp.add(frame.photo, image)
            warp_real.add(frame.photo, frame.photo)
    if generated.levels() is None:
        raise SourceError(
            "no two consecutive frames of the clip share a label pixel, so there is no flicker "
            "to measure; --clip takes a video, or a folder of label maps in the palette's colours"
        )
    return replace(
        scores,
        flicker=generated.levels(),
        flicker_real=real.levels(),
        warp_error=warp.levels(),
        warp_error_real=warp_real.levels(),
    )


@torch.inference_mode()
def evaluate(
    generator: nn.Module,
    batches: Iterator[PairBatch],
    device: torch.device,
    segmenter: Evaluator | None = None,
) -> Scores:
    """Measure a generator in training as it ships: fp32, running statistics, no dropout.

    It lies on ``device`` and takes (N, 3, H, W) in [-1, 1] to the same. The segmenter, if given,
    computes the segmentation score.
    """
    distances: list[torch.Tensor] = []
    confusion = torch.zeros(())
    with eval_mode(generator):
        for cpu_batch in batches:
            batch = cpu_batch.to(device)
            source = to_signal(batch.source).contiguous(memory_format=torch.channels_last)
            images = counted(to_pixels(generator(source)), batch)
            distances.append(distances_of(images, batch))
            if segmenter is not None:
                labels = cpu_batch.label_maps.numpy()
                confusion = confusion + segmenter.confusion(images.cpu().numpy(), labels)
    score = None if segmenter is None else SegmentationScore.of(confusion)
    return replace(_mean(distances), segmentation=score)


def torch_translate(generator: nn.Module, device: torch.device) -> Translate:
    """Return what a generator computes as it ships: eval mode, fp32, in batches of 8.

    The generator, (N, 3, H, W) to the same in [-1, 1], is moved to ``device``.
    """
    generator.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no overload for both

    @torch.inference_mode()
    def translate(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        images = []
        for part in torch.split(torch.from_numpy(frames), BATCH):
            signal = to_signal(part.to(device)).contiguous(memory_format=torch.channels_last)
            images.append(to_pixels(generator(signal)).cpu())
        return np.asarray(torch.cat(images).numpy(), np.uint8)

    return translate


def pairs_of(config: TrainConfig, data: Path | None = None) -> PairIndex:
    """Return the pairs of a run's data set; ``data`` is where it lies now, if not as in training.

    Raises:
        DatasetError: the pairs are missing or broken, also while they are read.
    """
    return open_pairs((config if data is None else config.replace(data=str(data))).data).pairs


def validation_pairs(pairs: PairIndex, contract: PixelContract) -> Iterator[PairBatch]:
    """Yield the validation pairs, 8 at a time."""
    return validation_batches(PairDataset(pairs.val, contract), BATCH)


def other_photos(pairs: PairIndex, contract: PixelContract) -> Iterator[NDArray[np.uint8]]:
    """Yield training photos, (N, H, W, 3) uint8 BGR: as many as validation pairs, evenly spread."""
    chosen = tuple(pairs.train[i] for i in evenly_spread(len(pairs.train), len(pairs.val)))
    for batch in validation_batches(PairDataset(chosen, contract), BATCH):
        yield batch.target.numpy()


def _rows(
    generated: SegmentationScore | ImageNetScore | None,
    real: SegmentationScore | ImageNetScore | None,
    before: str = "",
) -> list[tuple[str, float | None, float | None]]:
    if generated is None or real is None:
        return []
    of_photos = asdict(real)
    names = {name: name.replace("_", " ") for name in of_photos}
    names |= {"mean_iou": "mean IoU", "kid": "kernel distance"}
    names |= {f"frechet_{scale}": f"ImageNet Frechet, 1/{scale}" for scale in (4, 8, 16)}
    names |= {"frechet_pooled": "ImageNet Frechet, pooled"}
    values = asdict(generated).items()
    return [(f"{before}{names[name]}", value, of_photos[name]) for name, value in values]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
