"""What about pairs looks like a mistake: halves that are none, or input and target swapped.

It is a look at a few pairs, cheap enough for the start of every run. Nothing is refused.
"""

from __future__ import annotations

import filecmp
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.palette import PRESETS

from .decode import read_image
from .layouts.images import ImageRef, Pair
from .layouts.index import PairIndex, evenly_spread
from .palette_fit import fit_palette

__all__ = ["suspicions_of"]

SAMPLES = 8
"""Number of pairs that are looked at."""

SEAM = 3.0
"""Minimum step of a seam between two pictures, relative to the median step between neighbours."""

SEAMLESS = 1.5
"""Maximum step in the middle of one picture, in the median over the pairs."""

FLAT_MARGIN = 0.2
"""Minimum difference in flatness by which targets, not inputs, are the drawings or label maps."""

FLAT = 0.6
"""Minimum flatness of drawings and label maps."""

STILL = 8.0
"""Maximum standard deviation in levels of paper, which hides a seam."""

Picture = NDArray[np.uint8]


def suspicions_of(pairs: PairIndex) -> list[str]:
    """Return sentences on what may be wrong with the pairs, and what corrects it.

    Raises:
        DatasetError: a picture cannot be read.
    """
    every = pairs.train
    chosen = [every[index] for index in evenly_spread(len(every), SAMPLES)]
    found = _halves_that_are_none(chosen) if pairs.side_by_side else []
    return (found or _contents(pairs, chosen)) + _known_from_training(pairs)


def _known_from_training(pairs: PairIndex) -> list[str]:
    val = [pairs.val[index] for index in evenly_spread(len(pairs.val), SAMPLES)]
    sizes = {pair.target.path.stat().st_size for pair in val}
    train = [pair for pair in pairs.train if pair.target.path.stat().st_size in sizes]
    for one, two in itertools.product(val, train):
        files = ((one.target.path, two.target.path), (one.input.path, two.input.path))
        if all(filecmp.cmp(*both, shallow=False) for both in files):
            return [f"{one.input.path} validates what {two.input.path} teaches: the same pair"]
    return []


def _halves_that_are_none(pairs: list[Pair]) -> list[str]:
    wholes = [read_image(ImageRef(path=pair.input.path)) for pair in pairs]
    if max(whole.std() for whole in wholes) == 0:
        return []
    middle = _median(wholes, lambda image: _seam(image, 0.5))
    if middle >= SEAMLESS:
        return []
    if _median(wholes, lambda image: min(_seam(image, 1 / 3), _seam(image, 2 / 3))) > SEAM:
        return ["the images look like three pictures side by side; cut them into two folders"]
    if _median(wholes, lambda image: _seam(image.swapaxes(0, 1), 0.5)) > SEAM:
        return ["the images look like pairs one above the other; put them side by side"]
    if _median(wholes, lambda image: image[:, _around_middle(image)].std()) < STILL:
        return []  # paper on both sides hides the seam
    return ["nothing changes in the middle of the images: plain pictures rather than pairs?"]


def _contents(pairs: PairIndex, chosen: list[Pair]) -> list[str]:
    inputs, targets = zip(
        *((read_image(pair.input), read_image(pair.target)) for pair in chosen), strict=True
    )
    for side, pictures in (("inputs", inputs), ("targets", targets)):
        if all((picture == picture[0, 0]).all() for picture in pictures):
            return [f"the {side} show nothing: each that was looked at is of one colour"]
    flat = _median(targets, _flatness)
    drawn = flat >= max(FLAT, _median(inputs, _flatness) + FLAT_MARGIN)
    if not drawn and (_in_known_colours(inputs) or not _in_known_colours(targets)):
        return []
    names = pairs.direction.split(" to ")
    flags = f"--input-dir {names[1]} --target-dir {names[0]}"
    if pairs.side_by_side:
        flags = f"--input-side {chosen[0].target.part}"
    return [
        "the inputs look like photos and the targets like drawings or label maps: "
        f"swapped? try {flags}"
    ]


def _in_known_colours(pictures: Sequence[Picture]) -> bool:
    return any(fit_palette(palette, pictures).recognised for palette in PRESETS.values())


def _median(pictures: Sequence[Picture], measure: Callable[[Picture], float]) -> float:
    return float(np.median([measure(picture) for picture in pictures]))


def _seam(picture: NDArray[Any], place: float) -> float:
    """Return the step between the columns at ``place`` (0-1), relative to the median step."""
    at = round(picture.shape[1] * place)
    steps = np.abs(np.diff(picture.astype(np.int16), axis=1)).mean(axis=(0, 2))
    return float(steps[max(at - 1, 0)] / (np.median(steps) + 0.5))


def _around_middle(picture: Picture) -> slice:
    middle = picture.shape[1] // 2
    return slice(max(middle - 2, 0), middle + 2)


def _flatness(picture: Picture) -> float:
    """Return the share of the pixels that differ from their right neighbour by a level or less."""
    steps = np.abs(np.diff(picture.astype(np.int16), axis=1)).max(axis=2)
    return float((steps <= 1).mean()) if steps.size else 1.0
