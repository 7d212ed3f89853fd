"""What a run finds out about its data before the first step."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.config import DataConfig, TrainConfig
from p2p_train.data import dataset, prepare
from p2p_train.data.labels import open_pairs
from p2p_train.data.layouts.images import open_image
from p2p_train.data.prepare import ClassCounter, find_classes_present, prepare_data
from toy_pairs import CLASSES, SIDE_PX, write_folders, write_pairs

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
    return np.asarray(open_image(file).convert("RGB"))[..., ::-1].copy()


def classes_of(*maps: Image) -> tuple[int, ...]:
    """Count the classes of label maps."""
    counter = ClassCounter(CITYSCAPES)
    for one in maps:
        counter.add(one)
    return counter.present()


def test_in_exact_maps_a_single_pixel_counts() -> None:
    """Class ids and PNGs mean what they say, be it one pixel in a hundred maps."""
    image = block_map()
    image[5, 5] = CITYSCAPES.colours_bgr()[24]
    assert classes_of(image, image, image) == (3, 18, 21, 24)


def test_in_blurred_maps_edges_do_not_count() -> None:
    """A JPEG's edges have colours of many classes; only those that fill some area are there."""
    blurred = as_jpeg(block_map())
    assert len(np.unique(CITYSCAPES.to_ids(blurred))) > 4
    assert classes_of(blurred) == (3, 18, 21)


def test_without_any_solid_pixel_all_classes_count() -> None:
    """Maps that say nothing rule nothing out."""
    assert classes_of() == tuple(range(29))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_contract_names_the_classes_of_the_training_data(tmp_path: Path, suffix: str) -> None:
    """``prepare_data`` writes the classes present into the contract, for the device."""
    write_pairs(tmp_path / "train", 6, suffix=suffix)
    config = TrainConfig.of(
        data=str(tmp_path), image_size=(SIDE_PX, SIDE_PX), palette="cityscapes", jitter_px=0
    )
    found = prepare_data(config).contract.classes_present
    assert found is not None
    assert {CITYSCAPES.classes.index(name) for name in CLASSES} <= set(found)
    assert len(found) < (6 if suffix == ".png" else 20)


def test_no_class_of_cityscapes_pairs_is_lost(shared_data: Callable[[str], Path]) -> None:
    """All 29 classes are in the real pairs, be it in three pictures of a thousand."""
    source = open_pairs(DataConfig(folder=str(shared_data("cityscapes_pairs"))))
    assert source.palette is not None
    assert find_classes_present(source.pairs.train, source.palette) == tuple(range(29))


def test_each_file_is_read_once_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes present, mean photo, samples and the label cache come out of one pass."""
    for folder, count, first in (("train", 12, 0), ("val", 9, 50)):
        write_folders(tmp_path / folder / "labels", tmp_path / folder / "photos", count, first)
    reads: Counter[str] = Counter()
    for module in (prepare, dataset):
        real = module.read_pair
        monkeypatch.setattr(
            module,
            "read_pair",
            lambda pair, palette, real=real: (
                reads.update([str(pair.input.path)]),
                real(pair, palette),
            )[1],
        )
    config = TrainConfig.of(
        data=str(tmp_path), image_size=(SIDE_PX, SIDE_PX), palette="cityscapes", samples=4
    )
    data = prepare_data(config)
    assert len(reads) == 12 + 9
    assert set(reads.values()) == {1}
    assert data.samples.source.shape == (4, SIDE_PX, SIDE_PX, 3)
    assert data.contract.classes_present is not None
