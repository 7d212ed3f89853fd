"""The judge: it learns the classes of real photos and says whether images show their labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.metrics import IGNORED
from p2p_train.segmentation import Segmenter, SegmenterConfig, train_segmenter

CPU = torch.device("cpu")


def test_the_judge_learns(judge: Segmenter) -> None:
    """On toy photos, whose colours are their labels, it finds well over half of the pixels."""
    assert judge.ceiling.pixel_accuracy > 0.8
    assert judge.ceiling.mean_iou > 0.5


def test_the_judge_asks_only_about_classes_that_occur(judge: Segmenter) -> None:
    """The toy pairs have five classes; all others are ignored in labels."""
    names = [CITYSCAPES.classes[index] for index in judge.classes]
    assert names == ["road", "building", "vegetation", "sky", "car"]
    colours = CITYSCAPES.colours_bgr()
    label = np.zeros((1, 32, 32, 3), np.uint8)
    label[:, :16] = colours[CITYSCAPES.classes.index("sky")]
    label[:, 16:] = colours[CITYSCAPES.classes.index("train")]
    ids = judge.label_ids(label)
    assert ids.shape == (1, 32, 32)
    assert set(ids[0, :16].unique().tolist()) == {3}
    assert set(ids[0, 18:].unique().tolist()) == {IGNORED}


def test_blurred_edges_are_outvoted(judge: Segmenter) -> None:
    """A seam between road and sky that JPEG gave a third colour belongs to one of the two."""
    label = np.zeros((1, 64, 64, 3), np.uint8)
    for rows, name in ((slice(0, 30), "sky"), (slice(30, 31), "car"), (slice(31, 64), "road")):
        label[:, rows] = CITYSCAPES.colours_bgr()[CITYSCAPES.classes.index(name)]
    sky, road = 3, 0
    assert judge.label_ids(label)[0, :, 0].tolist() == [sky] * 15 + [road] * 17


def test_single_pixels_and_void_do_not_make_a_class(tmp_path: Path) -> None:
    """Specks, as JPEG leaves them at edges, and unlabelled areas are not classes to find."""
    from p2p_train.segmentation.training import _solid_classes

    ids = np.full((20, 20), CITYSCAPES.classes.index("road"), np.uint8)
    ids[:8] = CITYSCAPES.classes.index("unlabelled")
    ids[::2, ::2] = np.where(ids[::2, ::2] > 0, CITYSCAPES.classes.index("bus"), 0)
    ids[14:] = CITYSCAPES.classes.index("road")
    found = _solid_classes(CITYSCAPES.to_colours(ids)[None], CITYSCAPES)
    assert [CITYSCAPES.classes[index] for index in found] == ["road"]


def test_a_saved_judge_judges_the_same(judge: Segmenter, tmp_path: Path) -> None:
    """Scores, statistics and answers survive the file."""
    judge.save(tmp_path / "judge.pt")
    loaded = Segmenter.load(tmp_path / "judge.pt", CPU)
    photos = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3)).astype(np.uint8)
    assert torch.equal(loaded.find_classes(photos), judge.find_classes(photos))
    assert torch.equal(loaded.photos.covariance, judge.photos.covariance)
    assert (loaded.ceiling, loaded.floor, loaded.classes) == (
        judge.ceiling,
        judge.floor,
        judge.classes,
    )


def test_images_of_any_size_are_brought_to_the_judges(judge: Segmenter) -> None:
    """Ten images of 40x50 give answers of half the judge's 64x64, and one feature row each."""
    photos = np.zeros((10, 40, 50, 3), np.uint8)
    assert judge.find_classes(photos).shape == (10, 32, 32)
    assert judge.features(photos).shape == (10, len(judge.photos.mean))


def test_fault_07_altered_judge_is_refused(judge: Segmenter, tmp_path: Path) -> None:
    """A flipped bit in a judge is noticed, as in any checkpoint."""
    path = tmp_path / "judge.pt"
    judge.save(path)
    content = bytearray(path.read_bytes())
    weight = judge.photos.covariance.numpy().tobytes()
    content[content.index(weight) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|cannot be read"):
        Segmenter.load(path, CPU)


def test_a_checkpoint_is_not_a_judge(tmp_path: Path) -> None:
    """A file of the right kind with other content is one line, not a KeyError."""
    from p2p_train.tensorfile import write_tensors

    write_tensors(tmp_path / "other.pt", {"generator": {}}, schema=1)
    with pytest.raises(CheckpointError, match="is not a judge"):
        Segmenter.load(tmp_path / "other.pt", CPU)


@pytest.mark.parametrize("palette", [CAMVID, None])
def test_a_judge_of_other_labels_is_refused(judge: Segmenter, palette: object) -> None:
    """Colours that mean something else cannot be judged."""
    other = PixelContract(height=32, width=32, palette=palette)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="trained on palette cityscapes"):
        judge.check_labels(other)
    judge.check_labels(replace(judge.contract, height=64))


def test_pictures_have_no_judge(data: Path) -> None:
    """Inputs without a palette have no classes."""
    config = SegmenterConfig(data=TrainConfig(data=str(data), palette="none"), size_px=32)
    with pytest.raises(ConfigError, match="needs label maps"):
        train_segmenter(config, CPU)


@pytest.mark.parametrize("size_px", [16, 100])
def test_impossible_sizes(size_px: int) -> None:
    """A size that five halvings do not divide is refused with the rule."""
    with pytest.raises(ConfigError, match="multiple of 32"):
        SegmenterConfig(data=TrainConfig(), size_px=size_px)
