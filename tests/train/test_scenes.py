"""The procedural street scenes."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from p2p_runtime.errors import OutputError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.scenes import draw_scene, write_clip, write_dataset
from p2p_train.scenes.street import Street

SIDE_PX = 96
SEEDS = range(6)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a few streets as (label, photo)."""
    return [draw_scene(seed, SIDE_PX, SIDE_PX) for seed in SEEDS]


def test_equal_arguments_give_equal_pixels():
    """A scene is a function of its arguments, so that everybody has the same demo."""
    first, second = draw_scene(3, 48, 64, 1.5), draw_scene(3, 48, 64, 1.5)
    assert first[0].shape == first[1].shape == (48, 64, 3)
    assert first[0].dtype == first[1].dtype == np.uint8
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_seeds_give_different_streets(scenes):
    """No two seeds draw the same street."""
    assert len({label.tobytes() for label, _ in scenes}) == len(SEEDS)


def test_labels_hold_palette_colours_only(scenes):
    """No pixel of a label map lies between two classes."""
    for label, _ in scenes:
        np.testing.assert_array_equal(label, CITYSCAPES.nearest_colours(label))


def test_every_street_has_the_classes_of_a_street(scenes):
    """Road, sky and houses or trees fill every picture."""
    for label, _ in scenes:
        shares = np.bincount(CITYSCAPES.to_ids(label).ravel(), minlength=29) / SIDE_PX**2
        share = dict(zip(CITYSCAPES.classes, shares, strict=True))
        assert share["road"] > 0.2
        assert share["sky"] > 0.03
        assert share["building"] + share["vegetation"] > 0.05


def test_together_the_streets_show_many_classes(scenes):
    """A generator trained on them meets vehicles, people and street furniture, too."""
    seen = {
        CITYSCAPES.classes[i] for label, _ in scenes for i in np.unique(CITYSCAPES.to_ids(label))
    }
    assert seen >= {"car", "person", "pole", "sidewalk", "traffic sign", "terrain"}


def test_label_and_photo_are_aligned(scenes):
    """Each class has its own look in the photo, and loses it when the photo is shifted."""
    for label, photo in scenes:
        assert _spread_within_classes(label, photo) < 0.8 * _spread_within_classes(
            label, np.roll(photo, SIDE_PX // 4, axis=0)
        )


def test_sky_is_blue_road_is_grey_and_trees_are_green(scenes):
    """The photo paints what the label says."""
    labels = np.concatenate([label for label, _ in scenes])
    photos = np.concatenate([photo for _, photo in scenes]).astype(float)
    ids = CITYSCAPES.to_ids(labels)
    blue, _, red = photos[ids == CITYSCAPES.classes.index("sky")].mean(axis=0)
    assert blue > red + 20
    road = photos[ids == CITYSCAPES.classes.index("road")].mean(axis=0)
    assert np.ptp(road) < 20
    blue, green, red = photos[ids == CITYSCAPES.classes.index("vegetation")].mean(axis=0)
    assert green > max(blue, red) + 5


def test_a_film_moves_smoothly():
    """Neighbouring frames differ a little, frames a second apart differ more."""
    start, next_frame, later = (
        draw_scene(2, SIDE_PX, SIDE_PX, time_s)[0] for time_s in (0.0, 1 / 15, 1.0)
    )
    near, far = ((start != other).any(axis=-1).mean() for other in (next_frame, later))
    assert 0 < near < 0.08
    assert near < far / 2


def test_whatever_stands_or_drives_moves_on_from_where_it_was():
    """Between frames nothing jumps: oncoming cars, the fastest, come closer by about a metre."""
    street, time_s = Street.from_seed(4), 3.0
    now, after = (street.things(street.speed_m_s * t, t) for t in (time_s, time_s + 1 / 15))
    camera_m = street.speed_m_s * time_s
    seen = [thing for thing in now if 5 < thing.z_m - camera_m < 60]
    assert {"car", "person"} <= {thing.kind for thing in seen}
    for thing in seen:
        same = [t.z_m for t in after if (t.kind, t.variant) == (thing.kind, thing.variant)]
        assert min(abs(z_m - thing.z_m) for z_m in same) < 1.5


def test_dataset_has_photos_left_and_labels_right(tmp_path: Path):
    """The files have the layout of the project's own side-by-side pairs."""
    write_dataset(tmp_path, 3, height=32, width=48, seed=5)
    train, val = (sorted((tmp_path / part).glob("*.png")) for part in ("train", "val"))
    assert (len(train), len(val)) == (3, 1)
    pair = cv2.imdecode(np.frombuffer(train[0].read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    label, photo = draw_scene(5, 32, 48)
    np.testing.assert_array_equal(pair[:, :48], photo)
    np.testing.assert_array_equal(pair[:, 48:], label)


def test_clip_is_a_blurred_label_video(tmp_path: Path):
    """The codec blurs the colours, as in users' videos, and repair brings them back."""
    write_clip(tmp_path / "films" / "seg.mp4", 3, height=64, width=96, seed=1)
    with av.open(tmp_path / "films" / "seg.mp4") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == 15
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(frames) == 3
    label, _ = draw_scene(1, 64, 96)
    assert (frames[0] != label).any()
    assert (CITYSCAPES.nearest_colours(frames[0]) == label).all(axis=-1).mean() > 0.9


@pytest.mark.parametrize(("name", "width"), [("folder.mp4", 32), ("odd.mp4", 33)])
def test_a_clip_that_cannot_be_written_is_an_output_error(tmp_path: Path, name: str, width: int):
    """A folder in the way, or a size that the codec refuses, gives one clear error."""
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        write_clip(tmp_path / name, 1, height=32, width=width)


def _spread_within_classes(label: np.ndarray, photo: np.ndarray) -> float:
    """Return the mean variance of the photo's colours within each class, weighted by pixels."""
    ids = CITYSCAPES.to_ids(label)
    spreads = [photo[ids == i].var(axis=0).mean() * (ids == i).mean() for i in np.unique(ids)]
    return float(np.sum(spreads))
