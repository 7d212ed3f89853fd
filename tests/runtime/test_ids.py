"""Named numberings of class ids: what they paint, and how one is told from another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError, ContractError
from p2p_runtime.labels.ids import (
    NO_CLASS,
    NUMBERINGS,
    ClassIds,
    IdLayout,
    ids_of,
    load_ids,
    look_like_ids,
    own_ids,
    shares_of,
)
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES, Palette

Ids = NDArray[np.uint8]
NAMES = [*NUMBERINGS, "own"]


def classes(*names: str) -> list[int]:
    """Return the places of some classes in the Cityscapes palette."""
    return [CITYSCAPES.classes.index(name) for name in names]


def street() -> Ids:
    """Return a drawn street, (60, 80) classes of the Cityscapes palette."""
    road, sky, building, car, person, pavement, tree = classes(
        "road", "sky", "building", "car", "person", "sidewalk", "vegetation"
    )
    drawn = np.full((60, 80), road, np.uint8)
    drawn[:30] = building
    drawn[:12, 30:50] = sky
    drawn[4:30, 60:] = tree
    drawn[28:40, :20] = pavement
    drawn[26:40, 30:44] = car
    drawn[26:38, 6:9] = person
    return drawn


def numbered(name: str, drawn: Ids) -> Ids:
    """Return a map of Cityscapes classes in the ids of a numbering."""
    numbering = load_ids(name, CITYSCAPES)
    numbers = np.array([number for number, _ in numbering.classes])[None]
    places = numbering.to_classes(numbers, CITYSCAPES)[0]
    table = np.full(256, 255, np.uint8)
    table[places[::-1]] = numbers[0, ::-1]
    return table[drawn]


def decoded(file: Path) -> Ids:
    """Return a whole picture as OpenCV decodes it, (H, W) or (H, W, 3) BGR."""
    pixels = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_fault_85_the_same_street_in_every_numbering_is_the_same_street(name: str) -> None:
    """Ids of each numbering become the classes that they name."""
    drawn = street()
    ids = numbered(name, drawn)
    assert name == "own" or not np.array_equal(ids, drawn)
    assert np.array_equal(load_ids(name, CITYSCAPES).to_classes(ids, CITYSCAPES), drawn)


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("cityscapes-label", 7, "road"),
        ("cityscapes-train", 0, "road"),
        ("carla", 1, "road"),
        ("carla-0.9.13", 7, "road"),
        ("camvid", 3, "road"),
        ("carla", 24, "road"),  # road lines
        ("cityscapes-label", 18, "pole"),  # pole group
        ("carla", 20, "unlabelled"),  # static
        ("camvid", 5, "vegetation"),
        ("cityscapes-train", 255, "unlabelled"),
        ("camvid", 254, "unlabelled"),
    ],
)
def test_ids_stand_for_their_classes(name: str, number: int, expected: str) -> None:
    """Known ids, classes that the palette lacks, and ignored ids become the right class."""
    ids = np.array([[number]])
    assert NUMBERINGS[name].to_classes(ids, CITYSCAPES).tolist() == [classes(expected)]


def test_a_narrow_palette_gets_the_nearest_class() -> None:
    """CamVid has no lorries or walls: they become cars and buildings, as in SegNet's grouping."""
    ids = np.array([[15, 4, 7, 18]])  # truck, wall, traffic light, motorcycle in CARLA
    found = NUMBERINGS["carla"].to_classes(ids, CAMVID)[0]
    names = [CAMVID.classes[place] for place in found]
    assert names == ["car", "building", "sign symbol", "bicyclist"]


def test_ignored_pixels_have_no_class_where_a_palette_has_no_unlabelled() -> None:
    """They are painted black, and the mask of ignored pixels names them."""
    palette = Palette(name="two", classes=("road", "sky"), colours_rgb=((9, 9, 9), (1, 2, 3)))
    ids = np.array([[0, 255, 10]])
    numbering = NUMBERINGS["cityscapes-train"]
    assert numbering.to_classes(ids, palette).tolist() == [[0, NO_CLASS, 1]]
    assert numbering.ignored_mask(ids).tolist() == [[False, True, False]]


@pytest.mark.parametrize("number", [34, 200, 4000, -1, 70000])
def test_an_unknown_id_is_an_error_that_names_it(number: int) -> None:
    """An id that the numbering lacks is no class, whatever its size."""
    with pytest.raises(ContractError, match=rf"id {number} is not one of cityscapes-label: 0 un"):
        NUMBERINGS["cityscapes-label"].to_classes(np.array([[7, number]]), CITYSCAPES)


def test_the_carla_table_is_the_enum_of_the_carla_wheel() -> None:
    """Each id has the name that the simulator's own library gives it."""
    carla = pytest.importorskip("carla", reason="the carla wheel is not installed")
    enum = carla.CityObjectLabel
    theirs = {int(getattr(enum, name)): name for name in dir(enum) if name[0].isupper()}
    assert theirs.pop(255) == "Any"
    words = {"NONE": "unlabelled", "Pedestrians": "person"}  # ours for two of theirs
    for number, name in NUMBERINGS["carla"].classes:
        found, ours = theirs.pop(number), name.replace(" ", "")
        assert words.get(found, found.lower()) in (ours, f"{ours}s")
    assert theirs == {}


def test_a_file_gives_a_numbering(tmp_path: Path) -> None:
    """JSON with names of classes works as the named numberings do, and survives a round trip."""
    path = tmp_path / "mine.json"
    path.write_text('{"name": "mine", "classes": {"3": "road", "20": "sky"}, "ignored": [0]}')
    numbering = load_ids(str(path), CITYSCAPES)
    expected = [classes("road", "sky", "unlabelled")]
    assert numbering.to_classes(np.array([[3, 20, 0]]), CITYSCAPES).tolist() == expected
    stored = json.dumps(numbering.to_json(), sort_keys=True)  # 20 before 3, as bundles have them
    assert ClassIds.from_json(json.loads(stored)) == numbering


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"classes": {"x": "road"}}', '{"classes": {"1": 2}}',
        '{"classes": {"70000": "road"}}', '{"classes": {"1": "road"}, "ignored": ["255"]}',
        "[" * 5000, '{"classes": {"' + "9" * 5000 + '": "road"}}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_numbering_is_refused(tmp_path: Path, content: str) -> None:
    """One sentence shows the form that is expected."""
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r'JSON like \{"name"') as refused:
        load_ids(str(path), CITYSCAPES)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_an_unknown_name_lists_the_choices() -> None:
    """The error names every numbering."""
    with pytest.raises(ConfigError, match="cityscapes-label, cityscapes-train, carla, ") as refused:
        load_ids("cityscape", CITYSCAPES)
    assert "own or FILE.json" in str(refused.value)


def test_fault_87_ids_are_read_from_however_they_are_stored() -> None:
    """Grey, R=G=B, one channel, CARLA's BGRA and 16 bits hold the same ids; colours hold none."""
    ids = street()
    empty = np.zeros_like(ids)
    stored = [
        ids,
        ids.astype(np.uint16),
        np.dstack([ids, ids, ids]),
        np.dstack([empty, empty, ids]),
        np.dstack([empty, ids, empty]),
        np.dstack([empty, empty, ids, np.full_like(ids, 255)]),
        np.dstack([ids, ids, ids]).astype(np.uint16),
    ]
    for pixels in stored:
        found = ids_of(pixels)
        assert found is not None and np.array_equal(found, ids)
        assert look_like_ids(pixels)
    painted = CITYSCAPES.to_colours(ids)
    assert ids_of(painted) is None
    assert not look_like_ids(painted)


def test_fault_86_pictures_are_not_taken_for_ids() -> None:
    """Black frames, grey photos, edges and labels in few colours are no ids."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    black = np.zeros((8, 8), np.uint8)
    edges = np.where(ramp % 7 == 0, 255, 0).astype(np.uint8)
    buildings = CITYSCAPES.to_colours(np.array([[0, *classes("building", "pole")]], np.uint8))
    for pixels in (ramp, black, edges, buildings, np.full((4, 4), 255, np.uint8)):
        assert not look_like_ids(pixels)


@pytest.mark.parametrize("name", NAMES)
def test_a_numbering_is_recognised_by_where_its_classes_stand(name: str) -> None:
    """A street in any numbering is recognised; not one that is upside down or of one class."""
    ids = numbered(name, street())

    def best(*maps: Ids) -> str | None:
        layout = IdLayout()
        for one in maps:
            layout.add(one)
        found = layout.best(CITYSCAPES)
        return found.name if found else None

    assert best(ids) == name
    assert best(ids[::-1]) != name
    assert best(np.full_like(ids, ids[-1, -1])) in (None, name)
    assert best(np.full_like(ids, 100)) is None
    assert best(np.full_like(ids, 33)) is None  # a bicycle everywhere, in the one that has it


def test_the_shares_of_the_training_data_replace_those_of_streets() -> None:
    """With its own shares, a palette of any classes can tell its numbering from others."""
    palette = Palette(
        name="facade",
        classes=("wall", "window", "door"),
        colours_rgb=((1, 1, 1), (2, 2, 2), (3, 3, 3)),
    )
    drawn = np.zeros((30, 30), np.uint8)
    drawn[4:8, 4:26] = 1
    drawn[24:, 12:18] = 2
    layout = IdLayout()
    layout.add(drawn)
    assert layout.best(palette) is None
    shares = tuple(map(tuple, shares_of(drawn, 3).tolist()))
    found = layout.best(palette, shares)
    assert found == own_ids(palette)


@pytest.mark.parametrize("name", NAMES)
def test_real_maps_are_recognised_and_none_is_mistaken(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    """Of single real maps in each numbering, nearly all are recognised, and none as another."""
    files = sorted(shared_data("cityscapes_pairs/val").glob("*.jpg"))[::10]
    wanted, found = load_ids(name, CITYSCAPES), []
    for file in files:
        drawn = CITYSCAPES.to_ids(np.ascontiguousarray(decoded(file)[::2, 256::2]))
        layout = IdLayout()
        ids = numbered(name, drawn)
        layout.add(ids)
        best = layout.best(CITYSCAPES)
        found.append(best is not None)
        painted = wanted.to_classes(ids, CITYSCAPES)
        assert best is None or np.array_equal(best.to_classes(ids, CITYSCAPES), painted), file
    assert sum(found) >= 0.95 * len(files)


def test_real_ids_of_camvid_are_recognised(shared_data: Callable[[str], Path]) -> None:
    """The ids of another data set are recognised for a model in Cityscapes' colours."""
    for file in sorted(shared_data("camvid_clip/labels").glob("*.png"))[::20]:
        layout = IdLayout()
        layout.add(decoded(file))
        assert layout.best(CITYSCAPES) == NUMBERINGS["camvid"]
