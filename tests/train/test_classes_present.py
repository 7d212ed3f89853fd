"""The classes that the training data holds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.config import TrainConfig
from p2p_train.data.classes_present import count_classes_present, find_classes_present
from p2p_train.data.labels import open_pairs
from p2p_train.data.prepare import prepare_data
from toy_pairs import CLASSES, SIDE_PX, write_pairs

Image = NDArray[np.uint8]


def block_map(side_px: int = 64) -> Image:
    """Return a car (21) on a road (3) under sky (18): (H, W, 3) uint8 BGR."""
    ids = np.full((side_px, side_px), 18, np.uint8)
    ids[side_px // 2 :] = 3
    ids[side_px // 3 : side_px * 2 // 3, 10:40] = 21
    return CITYSCAPES.to_colours(ids)


def as_jpeg(image: Image) -> Image:
    """Return what a JPEG of usual quality leaves of the image."""
    file = io.BytesIO()
    Picture.fromarray(image[..., ::-1]).save(file, "JPEG", quality=85)
    return np.asarray(Picture.open(file).convert("RGB"))[..., ::-1].copy()


def test_in_exact_maps_a_single_pixel_counts() -> None:
    """Class ids and PNGs mean what they say, be it one pixel in a hundred maps."""
    image = block_map()
    image[5, 5] = CITYSCAPES.colours_bgr()[24]
    assert count_classes_present([image] * 3, CITYSCAPES) == (3, 18, 21, 24)


def test_in_blurred_maps_edges_do_not_count() -> None:
    """A JPEG's edges have colours of many classes; only those that fill some area are there."""
    blurred = as_jpeg(block_map())
    assert len(np.unique(CITYSCAPES.to_ids(blurred))) > 4
    assert count_classes_present([blurred], CITYSCAPES) == (3, 18, 21)


def test_without_any_solid_pixel_all_classes_count() -> None:
    """Maps that say nothing rule nothing out."""
    assert count_classes_present([], CITYSCAPES) == tuple(range(29))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_contract_names_the_classes_of_the_training_data(tmp_path: Path, suffix: str) -> None:
    """What prepares a run writes the used classes into the contract, for the device to know."""
    write_pairs(tmp_path / "train", 6, suffix=suffix)
    config = TrainConfig(
        data=str(tmp_path), height=SIDE_PX, width=SIDE_PX, palette="cityscapes", jitter_px=0
    )
    used = prepare_data(config).contract.classes_present
    assert used is not None
    assert {CITYSCAPES.classes.index(name) for name in CLASSES} <= set(used)
    assert len(used) < (6 if suffix == ".png" else 20)


def test_no_class_of_cityscapes_pairs_is_lost(shared_data: Callable[[str], Path]) -> None:
    """All 29 classes are in the real pairs, be it in three pictures of a thousand."""
    source = open_pairs(TrainConfig(data=str(shared_data("cityscapes_pairs"))))
    assert source.palette is not None
    assert find_classes_present(source.pairs.train, source.palette) == tuple(range(29))
