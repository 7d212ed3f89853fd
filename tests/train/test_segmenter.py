"""The segmenter: trained on real photos, it finds classes in images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from commands import p2p_train
from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig
from p2p_train.metrics.evaluator import IGNORED
from p2p_train.segmentation.segmenter import Segmenter
from p2p_train.segmentation.training import SegmenterConfig, solid_classes, train_segmenter
from p2p_train.tensorfile import write_tensors

CPU = torch.device("cpu")


def test_it_finds_the_classes_of_toy_photos(segmenter: Segmenter) -> None:
    """Where colours are labels, it classifies well over half of the pixels."""
    assert segmenter.photo_score.pixel_accuracy > 0.8
    assert segmenter.photo_score.mean_iou > 0.5


def test_only_classes_that_occur_are_scored(segmenter: Segmenter) -> None:
    """The toy pairs have five classes; all others are ignored in labels."""
    names = [CITYSCAPES.classes[index] for index in segmenter.classes]
    assert names == ["road", "building", "vegetation", "sky", "car"]
    colours = CITYSCAPES.colours_bgr()
    label = np.zeros((1, 32, 32, 3), np.uint8)
    label[:, :16] = colours[CITYSCAPES.classes.index("sky")]
    label[:, 16:] = colours[CITYSCAPES.classes.index("train")]
    ids = segmenter.label_ids(label)
    assert ids.shape == (1, 32, 32)
    assert set(ids[0, :16].unique().tolist()) == {3}
    assert set(ids[0, 18:].unique().tolist()) == {IGNORED}


def test_blurred_edges_take_the_class_around_them(segmenter: Segmenter) -> None:
    """A seam between road and sky that JPEG gave a third colour belongs to one of the two."""
    label = np.zeros((1, 64, 64, 3), np.uint8)
    for rows, name in ((slice(0, 30), "sky"), (slice(30, 31), "car"), (slice(31, 64), "road")):
        label[:, rows] = CITYSCAPES.colours_bgr()[CITYSCAPES.classes.index(name)]
    sky, road = 3, 0
    assert segmenter.label_ids(label)[0, :, 0].tolist() == [sky] * 15 + [road] * 17


def test_single_pixels_and_void_do_not_make_a_class(tmp_path: Path) -> None:
    """Specks, as JPEG leaves them at edges, and unlabelled areas are not classes to learn."""
    ids = np.full((20, 20), CITYSCAPES.classes.index("road"), np.uint8)
    ids[:8] = CITYSCAPES.classes.index("unlabelled")
    ids[::2, ::2] = np.where(ids[::2, ::2] > 0, CITYSCAPES.classes.index("bus"), 0)
    ids[14:] = CITYSCAPES.classes.index("road")
    found = solid_classes(CITYSCAPES.to_colours(ids)[None], CITYSCAPES)
    assert [CITYSCAPES.classes[index] for index in found] == ["road"]


def test_a_saved_segmenter_classifies_the_same(segmenter: Segmenter, tmp_path: Path) -> None:
    """Scores, statistics and classes survive the file."""
    segmenter.save(tmp_path / "segmenter.pt")
    loaded = Segmenter.load(tmp_path / "segmenter.pt", CPU)
    photos = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3)).astype(np.uint8)
    assert torch.equal(loaded.classify(photos), segmenter.classify(photos))
    assert torch.equal(loaded.photo_features.covariance, segmenter.photo_features.covariance)
    assert (loaded.photo_score, loaded.photo_distance, loaded.classes) == (
        segmenter.photo_score,
        segmenter.photo_distance,
        segmenter.classes,
    )


def test_images_of_any_size_are_resized(segmenter: Segmenter) -> None:
    """Ten images of 40x50 give maps of half the segmenter's 64x64, and one feature row each."""
    photos = np.zeros((10, 40, 50, 3), np.uint8)
    assert segmenter.classify(photos).shape == (10, 32, 32)
    assert segmenter.features(photos).shape == (10, len(segmenter.photo_features.mean))


def test_fault_07_altered_segmenter_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    """A flipped bit in a segmenter is noticed, as in any checkpoint."""
    path = tmp_path / "segmenter.pt"
    segmenter.save(path)
    content = bytearray(path.read_bytes())
    weight = segmenter.photo_features.covariance.numpy().tobytes()
    content[content.index(weight) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|cannot be read"):
        Segmenter.load(path, CPU)


def test_a_segmenter_written_before_is_refused(tmp_path: Path) -> None:
    """A file of the first layout is refused in one line."""
    write_tensors(tmp_path / "old.pt", {"network": {}}, schema=1)
    with pytest.raises(CheckpointError, match="segmenter schema 1; this version reads 2"):
        Segmenter.load(tmp_path / "old.pt", CPU)


def test_a_checkpoint_is_not_a_segmenter(tmp_path: Path) -> None:
    """A file of the right kind with other content is one line, not a KeyError."""
    write_tensors(tmp_path / "other.pt", {"generator": {}}, schema=2)
    with pytest.raises(CheckpointError, match="is not a segmenter"):
        Segmenter.load(tmp_path / "other.pt", CPU)


@pytest.mark.parametrize("palette", [CAMVID, None])
def test_a_segmenter_of_other_labels_is_refused(segmenter: Segmenter, palette: object) -> None:
    """Colours that mean something else cannot be scored."""
    other = PixelContract(height=32, width=32, palette=palette)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="trained on palette cityscapes"):
        segmenter.check_labels(other.palette)
    segmenter.check_labels(segmenter.contract.palette)


def test_pictures_have_no_classes(data: Path) -> None:
    """Inputs without a palette cannot train a segmenter."""
    config = SegmenterConfig(data=DataConfig(folder=str(data), palette="none"), size=(32, 32))
    with pytest.raises(ConfigError, match="needs label maps"):
        train_segmenter(config, CPU)


@pytest.mark.parametrize("size", [(16, 32), (64, 100)])
def test_impossible_sizes(size: tuple[int, int]) -> None:
    """A side that is no multiple of 32 is refused with the rule."""
    with pytest.raises(ConfigError, match="multiples of 32"):
        SegmenterConfig(data=DataConfig(), size=size)


def test_its_flags_reach_its_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """--epochs is a setting of generators, too, and must not stay with them."""
    seen = []

    def stop(config: SegmenterConfig, device: torch.device) -> None:
        seen.append(config)
        raise ConfigError("enough")

    monkeypatch.setattr("p2p_train.segmentation.training.train_segmenter", stop)
    words = "segmenter --data d --epochs 3 --seed 4 --size 64x32 --device cpu"
    p2p_train(words, "--output", tmp_path / "s.pt", exit_code=2)
    assert [(one.epochs, one.data.seed, one.size) for one in seen] == [(3, 4, (64, 32))]
