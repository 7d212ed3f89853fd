"""The data set: from a pair on disk to preprocessed, augmented uint8 pixels."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from p2p_runtime.labels.palette import Palette
from p2p_runtime.labels.resampling import resize
from p2p_runtime.model.contract import PixelContract

from .decode import DecodedPair, ImageGoneError, read_pair
from .layouts.images import Pair

__all__ = ["Augmentation", "LabelCache", "PairBatch", "PairDataset", "PairKey"]

MAX_SUBSTITUTES = 8
"""Maximum number of neighbours that are tried in place of a pair whose files are gone."""

CACHE_BYTES = 256 * 1024 * 1024
"""Maximum size in each process that decodes: 50,000 maps of 286x286 px, at about 5 KB each."""

ZLIB_LEVEL = 1
"""Fastest level of compression; labels have long runs, so that more effort gains little."""

CORNER_PX = 8
"""Distance of the places where crops begin; the pattern loss compares crops by such squares."""

PairKey = tuple[int, int]
"""An (epoch, pair index): what the sampler yields and the data set takes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBatch:
    """A batch of pairs.

    Attributes:
        source, target: the generator's inputs and the photos, (N, H, W, 3) uint8 BGR each.
        ignored: which pixels have no class and do not count, (N, H, W); None if all count.
        labels: label maps that lie beside inputs that are pictures, like these; or None.
        corners: (top, left) of each crop in its whole picture, which is mirrored if the crop is,
            in pixels; None if pairs are not cropped to squares.
        missing: for each pair that another one replaces, the reason.
    """

    source: torch.Tensor
    target: torch.Tensor
    ignored: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    corners: tuple[tuple[int, int], ...] | None = None
    missing: tuple[str, ...] = ()

    @property
    def label_maps(self) -> torch.Tensor:
        """The label maps beside the inputs, or the inputs: (N, H, W, 3) uint8 BGR."""
        return self.source if self.labels is None else self.labels

    @classmethod
    def join(cls, batches: Sequence[PairBatch]) -> PairBatch:
        """Return one batch with the pairs of all ``batches``, in order."""
        return cls(
            source=torch.cat([batch.source for batch in batches]),
            target=torch.cat([batch.target for batch in batches]),
            ignored=torch.cat([batch._mask() for batch in batches])
            if any(batch.ignored is not None for batch in batches)
            else None,
            labels=torch.cat([batch.label_maps for batch in batches])
            if all(batch.labels is not None for batch in batches)
            else None,
            corners=tuple(corner for batch in batches for corner in batch.corners or ())
            if all(batch.corners is not None for batch in batches)
            else None,
            missing=tuple(reason for batch in batches for reason in batch.missing),
        )

    def _mask(self) -> torch.Tensor:
        none = torch.zeros(self.source.shape[:3], dtype=torch.bool)
        return none if self.ignored is None else self.ignored

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch on ``device``; the copy overlaps with work there if memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> PairBatch:
        """Return the batch in page-locked memory; the data loader calls this."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PairBatch:
        ignored, labels = (None if t is None else change(t) for t in (self.ignored, self.labels))
        return replace(
            self,
            source=change(self.source),
            target=change(self.target),
            ignored=ignored,
            labels=labels,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Crops and mirrors pairs at random; without arguments it changes nothing.

    It is a function of (seed, epoch, pair), not of a generator's state. So a resumed run sees the
    same pixels, whatever the number of workers.

    Attributes:
        jitter_px: pixels by which pairs are enlarged before a random crop (the paper, section 6.2:
            286 to 256); 0 for none.
        crop_px: side of the squares that are cut out of them, :data:`CORNER_PX` apart; None for
            images of their size.
        flip: mirror half of the pairs.
        seed: random seed.
    """

    jitter_px: int = 0
    crop_px: int | None = None
    flip: bool = False
    seed: int = 0

    def apply(
        self, source: NDArray[np.uint8], target: NDArray[np.uint8], epoch: int, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[int, int]]:
        """Crop, and perhaps mirror, the two of a pair alike; return the crop's corner, too.

        Both are uint8 BGR, (H + jitter_px, W + jitter_px, 3) before and (H, W, 3) or (crop_px,
        crop_px, 3) afterwards; further channels are cropped and mirrored like the first. The
        corner is (top, left) in pixels of the whole picture, mirrored if the two are.
        """
        rng = np.random.default_rng([self.seed, epoch, index])
        height, width = (self.crop_px or side - self.jitter_px for side in source.shape[:2])
        most = source.shape[0] - height, source.shape[1] - width
        step = CORNER_PX if self.crop_px else 1
        last = np.array(most) // step
        # Crops that reach over an edge are moved back, or few would show what lies at the edges.
        reach = self.crop_px // 2 // step if self.crop_px else 0
        places = rng.integers(-reach, last + reach, endpoint=True).clip(0, last)
        top, left = (step * places).tolist()
        window = np.s_[top : top + height, left : left + width]
        source, target = source[window], target[window]
        if self.flip and rng.random() < 0.5:
            # OpenCV mirrors several times faster than a reversed NumPy view is copied.
            source, target = (np.asarray(cv2.flip(i, 1), np.uint8) for i in (source, target))
            left = most[1] // step * step - left
        return source, target, (top, left)


class LabelCache:
    """Holds label maps in exact palette colours, compressed; once full, it takes no more.

    Repairing a blurred label map costs twice as much as decoding its file; decompressing one costs
    next to nothing. Threads may share a cache.
    """

    def __init__(self, palette: Palette, max_bytes: int = CACHE_BYTES) -> None:
        self._palette = palette
        self._free_bytes = max_bytes
        self._maps: dict[int, tuple[bytes, tuple[int, ...]]] = {}

    def put(self, index: int, label: NDArray[np.uint8]) -> None:
        """Add a pair's label map, (H, W, 3) uint8 BGR in exact colours, if there is room."""
        ids = self._palette.to_ids(label)
        packed = zlib.compress(ids.tobytes(), ZLIB_LEVEL)
        if len(packed) <= self._free_bytes:
            self._free_bytes -= len(packed)
            self._maps[index] = packed, ids.shape

    def get(self, index: int) -> NDArray[np.uint8] | None:
        """Return a pair's label map, (H, W, 3) uint8 BGR, or None."""
        if index not in self._maps:
            return None
        packed, shape = self._maps[index]
        ids = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)  # (H, W)
        return self._palette.paint(ids)


class PairDataset(Dataset[PairBatch]):
    """Reads single pairs, preprocesses them by the contract and, for training, augments them.

    Attributes:
        pixels: number of pixels of an image as it is yielded.
        pair_bytes: size of an input, its photo and its label map, in bytes.
        label_palette: of label maps beside inputs that are pictures; or None.
    """

    def __init__(
        self,
        pairs: tuple[Pair, ...],
        contract: PixelContract,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._pairs = pairs
        self._palette = contract.palette
        self._augmentation = augmentation or Augmentation()
        crop_px = self._augmentation.crop_px
        self.pixels = crop_px**2 if crop_px else contract.height * contract.width
        self.label_palette = pairs[0].label_palette if pairs else None
        self.pair_bytes = (2 if self.label_palette is None else 3) * 3 * self.pixels
        jitter_px = self._augmentation.jitter_px
        enlarged = replace(
            contract, height=contract.height + jitter_px, width=contract.width + jitter_px
        )
        self._preprocess_input = enlarged.preprocess
        self._preprocess_label = replace(enlarged, palette=self.label_palette).preprocess
        self._preprocess_target = replace(enlarged, palette=None).preprocess
        self._labels = None if contract.palette is None else LabelCache(contract.palette)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, key: PairKey) -> PairBatch:
        """Return a batch of one pair.

        A pair whose files are gone is replaced by the next one that is there.

        Raises:
            DatasetError: a file is unreadable; the message names it.
        """
        epoch, index = key
        pair, missing = self._read(index)
        cache = None if missing else self._labels
        source = None if cache is None else cache.get(index)
        if source is None:
            source = self._preprocess_input(pair.input)
            if cache is not None:
                cache.put(index, source)
        if pair.label is not None:  # as further channels, these are cropped and mirrored with it
            source = np.dstack([source, self._preprocess_label(pair.label)])
        if pair.ignored is not None:
            mask = pair.ignored.astype(np.uint8)
            mask = resize(mask, source.shape[0], source.shape[1], cv2.INTER_NEAREST_EXACT)
            source = np.dstack([source, mask])
        source, target, corner = self._augmentation.apply(
            source, self._preprocess_target(pair.target), epoch, index
        )
        # Batches of one: (1, H, W, 3) each
        source1, target1 = (
            torch.from_numpy(np.ascontiguousarray(i))[None] for i in (source, target)
        )
        return PairBatch(
            source=source1[..., :3].contiguous(),
            target=target1,
            ignored=None if pair.ignored is None else source1[..., -1].bool(),
            labels=None if pair.label is None else source1[..., 3:6].contiguous(),
            corners=(corner,) if self._augmentation.crop_px else None,
            missing=missing,
        )

    def _read(self, index: int) -> tuple[DecodedPair, tuple[str, ...]]:
        try:
            return read_pair(self._pairs[index], self._palette), ()
        except ImageGoneError as error:
            gone = error
        for step in range(1, MAX_SUBSTITUTES + 1):
            neighbour = self._pairs[(index + step) % len(self._pairs)]
            with contextlib.suppress(ImageGoneError):
                return read_pair(neighbour, self._palette), (str(gone),)
        raise gone
