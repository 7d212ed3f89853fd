"""From pairs on disk to batches of uint8 pixels.

Everything random here is a function of (seed, epoch, pair), not of a generator's state, so that a
resumed run sees the same batches whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset, Sampler

from p2p_runtime.contract import PixelContract
from p2p_runtime.errors import DatasetError
from p2p_runtime.palette import PRESETS, Palette, load_palette

from .config import TrainConfig
from .pairs import ImageRef, Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "EpochSampler",
    "PairBatch",
    "PairDataset",
    "choose_palette",
    "read_image",
    "training_batches",
    "validation_batches",
]

PALETTE_SHARE = 0.9
PALETTE_SAMPLES = 16
Draw = tuple[int, int]
"""An (epoch, pair index): what the sampler yields and the data set reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBatch:
    """A batch of pairs.

    Attributes:
        source: the generator's inputs, (N, H, W, 3) uint8 BGR.
        target: the photos they should become, (N, H, W, 3) uint8 BGR.
    """

    source: torch.Tensor
    target: torch.Tensor

    @classmethod
    def join(cls, batches: Sequence[PairBatch]) -> PairBatch:
        """Return one batch that holds the pairs of all ``batches``, in order."""
        return cls(
            source=torch.cat([batch.source for batch in batches]),
            target=torch.cat([batch.target for batch in batches]),
        )

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch on ``device``; the copy overlaps with work there if memory is pinned."""
        return PairBatch(
            source=self.source.to(device, non_blocking=True),
            target=self.target.to(device, non_blocking=True),
        )

    def pin_memory(self) -> PairBatch:
        """Return the batch in page-locked memory; the data loader calls this."""
        return PairBatch(source=self.source.pin_memory(), target=self.target.pin_memory())


class PairDataset(Dataset[PairBatch]):
    """Reads single pairs, fits them to the contract and, for training, augments them.

    Args:
        pairs: where the pairs lie.
        contract: how an input becomes the generator's input; the same as on the device.
        jitter_px: enlarge by so many pixels and crop at random (the paper, section 6.2: 286 to
            256); 0 for validation.
        flip: mirror half of the pairs.
        seed: decides crops and flips.
    """

    def __init__(
        self,
        pairs: tuple[Pair, ...],
        contract: PixelContract,
        *,
        jitter_px: int = 0,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        self._pairs = pairs
        self._contract = contract
        self._jitter_px = jitter_px
        self._flip = flip
        self._seed = seed
        enlarged = replace(
            contract, height=contract.height + jitter_px, width=contract.width + jitter_px
        )
        self._fit_input = enlarged.fit
        self._fit_target = replace(enlarged, palette=None).fit

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, draw: Draw) -> PairBatch:
        """Return a batch of one pair.

        Raises:
            DatasetError: a file is unreadable; the message names it.
        """
        epoch, index = draw
        pair = self._pairs[index]
        source = self._fit_input(read_image(pair.input))
        target = self._fit_target(read_image(pair.target))
        chance = np.random.default_rng([self._seed, epoch, index])
        top, left = chance.integers(0, self._jitter_px, size=2, endpoint=True)
        window = np.s_[top : top + self._contract.height, left : left + self._contract.width]
        source, target = source[window], target[window]
        if self._flip and chance.random() < 0.5:
            source, target = source[:, ::-1], target[:, ::-1]
        return PairBatch(source=_batch_of_one(source), target=_batch_of_one(target))


class EpochSampler(Sampler[list[Draw]]):
    """Yields the batches of all epochs, each epoch in an order of its own.

    The last, smaller batch of an epoch is left out, unless it is the only one.

    Args:
        pairs: how many pairs there are.
        batch_size: pairs a batch.
        seed: decides the orders.
        first_step: steps already taken, in all epochs together.
        last_step: stop before this step.
    """

    def __init__(
        self, *, pairs: int, batch_size: int, seed: int, first_step: int, last_step: int
    ) -> None:
        self._pairs = pairs
        self._batch_size = min(batch_size, pairs)
        self._seed = seed
        self._steps = range(first_step, last_step)
        self.steps_per_epoch = pairs // self._batch_size

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in self._steps:
            epoch, batch = divmod(step, self.steps_per_epoch)
            if batch == 0 or step == self._steps.start:
                order = np.random.default_rng([self._seed, epoch]).permutation(self._pairs)
            chosen = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield [(epoch, int(index)) for index in chosen]


def training_batches(
    dataset: PairDataset, sampler: EpochSampler, *, workers: int, pin_memory: bool
) -> DataLoader[PairBatch]:
    """Return a loader that decodes ahead in ``workers`` processes (0: in this one)."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=PairBatch.join,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # its own: torch's must move only with the networks
    )


def validation_batches(dataset: PairDataset, batch_size: int) -> Iterator[PairBatch]:
    """Yield all pairs in order; the last batch may be smaller."""
    for first in range(0, len(dataset), batch_size):
        last = min(first + batch_size, len(dataset))
        yield PairBatch.join([dataset[0, index] for index in range(first, last)])


def read_image(ref: ImageRef) -> NDArray[np.uint8]:
    """Decode a picture or a half of it, upright by its EXIF tag.

    Grey, palette, CMYK and 16-bit pictures become RGB; transparency is dropped.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        DatasetError: the file is missing, truncated or not a picture; the message names it.
    """
    try:
        with Image.open(ref.path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a level
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            pixels = np.asarray(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"cannot read image {ref.path}: {error}") from error
    middle = pixels.shape[1] // 2
    halves = {"left": np.s_[:, :middle], "right": np.s_[:, middle:], "whole": np.s_[:, :]}
    return np.ascontiguousarray(pixels[halves[ref.part]][..., ::-1])


def choose_palette(config: TrainConfig, pairs: tuple[Pair, ...]) -> tuple[Palette | None, str]:
    """Return the palette of the inputs, and a sentence that says how it was found.

    ``auto`` takes the preset whose colours lie within 31 levels of at least 90 % of the pixels of
    some inputs; when there is none, inputs are taken as pictures rather than label maps.

    Raises:
        ConfigError: a palette file is malformed.
        DatasetError: an input is unreadable.
    """
    if config.palette == "none":
        return None, "inputs are pictures, not label maps (--palette none)"
    if config.palette != "auto":
        palette = load_palette(config.palette)
        return palette, f"palette {palette.name}, {len(palette.classes)} classes"
    step = max(1, len(pairs) // PALETTE_SAMPLES)
    inputs = [read_image(pair.input) for pair in pairs[::step][:PALETTE_SAMPLES]]
    shares = {
        name: float(np.mean([palette.coverage(image) for image in inputs]))
        for name, palette in PRESETS.items()
    }
    best = max(shares, key=lambda name: shares[name])
    if shares[best] >= PALETTE_SHARE:
        return PRESETS[best], (
            f"palette {best} recognised: {shares[best]:.1%} of the pixels of {len(inputs)} inputs "
            "lie near its colours"
        )
    return None, (
        f"no known palette covers the inputs (best: {best} with {shares[best]:.1%}), so they are "
        "taken as pictures and nothing is snapped; choose with --palette"
    )


def _batch_of_one(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None]  # (1, H, W, 3)
