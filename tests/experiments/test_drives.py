"""Drives through drawn streets: labels, plain and rich pictures of the same moments."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from experiments.drives.draw import Triple, draw_triple, main
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_train.scenes.draw import camera_at
from p2p_train.scenes.street import Street

HEIGHT, WIDTH = 96, 192
SEED = 3


@pytest.fixture(scope="module")
def triple() -> Triple:
    """Return a moment of a drive."""
    return draw_triple(SEED, HEIGHT, WIDTH)


def test_a_triple_is_a_function_of_its_arguments(triple: Triple):
    """Equal arguments give equal pixels, other seeds other streets."""
    again, other = draw_triple(SEED, HEIGHT, WIDTH), draw_triple(SEED + 1, HEIGHT, WIDTH)
    for one, same, different in zip(triple, again, other, strict=True):
        assert one.shape == (HEIGHT, WIDTH, 3)
        assert one.dtype == np.uint8
        np.testing.assert_array_equal(one, same)
        assert (one != different).any()


def test_labels_hold_palette_colours_and_the_classes_of_a_street(triple: Triple):
    """Label maps are exact, and the ground has its three classes or two of them."""
    np.testing.assert_array_equal(triple.label, CITYSCAPES.nearest_colours(triple.label))
    seen = {CITYSCAPES.classes[i] for i in np.unique(CITYSCAPES.to_ids(triple.label))}
    assert seen >= {"road", "sidewalk", "sky", "building", "pole"}


@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_labels_and_pictures_share_their_geometry(triple: Triple, kind: str):
    """Colours change where classes do: a shift of two pixels makes the classes less uniform."""
    picture = getattr(triple, kind)
    spread = _spread_within_classes(triple.label, picture)
    for axis in (0, 1):
        for shift in (-2, 2):
            moved = np.roll(picture, shift, axis=axis)
            assert spread < 0.98 * _spread_within_classes(triple.label, moved)


def test_the_rich_picture_has_texture_where_the_plain_one_is_flat(triple: Triple):
    """On the road, the plain picture has one colour, the rich one grain and shadows."""
    road = CITYSCAPES.to_ids(triple.label) == CITYSCAPES.classes.index("road")
    inner = cv2.erode(road.astype(np.uint8), np.ones((5, 5))).astype(bool)
    fine = [_fine(getattr(triple, kind))[inner] for kind in ("plain", "rich")]
    assert np.median(np.abs(fine[0])) == 0
    assert np.median(np.abs(fine[1])) > 1


def test_texture_stays_with_the_road_while_the_camera_moves(triple: Triple):
    """What the next frame shows of the road is this frame's road, seen from a step further."""
    step_s = 0.1
    after = draw_triple(SEED, HEIGHT, WIDTH, step_s)
    street = Street.from_seed(SEED)
    now, later = (camera_at(street, HEIGHT, WIDTH, t) for t in (0.0, step_s))
    rays = later.rays
    distance_m = -later.position_m[1] / np.minimum(rays[..., 1], -1e-3)
    seen = (later.position_m + rays * distance_m[..., None] - now.position_m) @ now.rotation.T
    columns = now.width_px / 2 + now.focal_px * seen[..., 0] / seen[..., 2] - 0.5
    rows = now.height_px * now.horizon - now.focal_px * seen[..., 1] / seen[..., 2] - 0.5
    fine = _fine(triple.rich)
    back = cv2.remap(fine, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    asphalt = (after.plain == after.plain[HEIGHT - 1, WIDTH // 2 + 9]).all(axis=2)  # no markings
    asphalt = cv2.erode(asphalt.astype(np.uint8), np.ones((9, 9))).astype(bool)
    near = asphalt & (distance_m < 9) & (rows < HEIGHT - 2)
    assert near.sum() > 500
    still = _correlation(_fine(after.rich)[near], fine[near])
    assert _correlation(_fine(after.rich)[near], back[near]) > max(0.5, still + 0.2)


def test_drives_are_written_as_folders_that_training_reads(tmp_path: Path):
    """Each part has labels, plain and rich pictures by the same names; no street is in both."""
    args = [str(tmp_path), "--drives", "2", "--frames", "2", "--size", "64x32", "--seed", "7"]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    names = {}
    for part in ("train", "val"):
        kinds = [
            sorted(p.name for p in (tmp_path / part / k).iterdir())
            for k in ("labels", "plain", "rich")
        ]
        assert kinds[0] == kinds[1] == kinds[2]
        names[part] = kinds[0]
    assert names["train"] == ["0000_0000.png", "0000_0001.png", "0001_0000.png", "0001_0001.png"]
    assert names["val"] == ["0002_0000.png", "0002_0001.png"]
    content = (tmp_path / "train" / "rich" / "0001_0001.png").read_bytes()
    rich = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(rich, draw_triple(8, 32, 64, 1.7).rich)


def _fine(picture: np.ndarray) -> np.ndarray:
    """Return brightness less its surroundings, (H, W) float32."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return grey - cv2.blur(grey, (9, 9))


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.corrcoef(one, two)[0, 1])


def _spread_within_classes(label: np.ndarray, picture: np.ndarray) -> float:
    """Return the mean variance of the colours within each class, weighted by pixels."""
    ids = CITYSCAPES.to_ids(label)
    spreads = [picture[ids == i].var(axis=0).mean() * (ids == i).mean() for i in np.unique(ids)]
    return float(np.sum(spreads))
