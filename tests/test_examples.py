"""The examples: the commands of each section run on small pairs of its kind, in one folder.

So do those of the page on pictures, which draws its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from guides import ROOT, follow, section_of, typed_lines, written_files
from p2p_runtime.labels.ids import NUMBERINGS
from p2p_runtime.labels.palette import CITYSCAPES, load_palette
from p2p_train.data.layouts.images import open_image

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
PICTURES = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
FEWER = (("range(264)", "range(12)"), ("number < 240", "number < 10"))
"""What the page on pictures draws, and how little of it the test draws."""
SIDE_PX = 64
TRAIN, VAL = range(1, 11), range(1, 3)
"""Which of the real pairs are used."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Followed:
    """A folder in which somebody followed a section.

    Attributes:
        said: what each command printed, by its line.
    """

    folder: Path
    said: dict[str, str]

    def painted(self, start: str) -> dict[str, int]:
        """Return the per cent of each class that the command beginning with ``start`` painted."""
        (text,) = (said for line, said in self.said.items() if line.startswith(start))
        (line,) = re.findall(r"^painted: (.*)$", text, re.MULTILINE)
        return {name: int(share) for name, share in re.findall(r"(\w[\w ]*) (\d+)%", line)}


@pytest.fixture(scope="module")
def example(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Callable[[Path], None]], Followed]:
    """Return a function that follows a section, in a folder that another one filled before."""

    def run(title: str, fill: Callable[[Path], None]) -> Followed:
        folder, text = tmp_path_factory.mktemp("example"), section_of(PAGE, title)
        for name, content in written_files(text).items():
            (folder / name).write_text(content, encoding="utf-8")
        fill(folder)
        return Followed(folder, {line: follow(line, folder) for line in typed_lines(text)})

    return run


def save(path: Path, pixels: NDArray[np.generic], **how: object) -> None:
    """Write a picture, RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)


def real_pair(file: Path) -> tuple[Picture, Picture]:
    """Return photo (H, W, 3) RGB and classes (H, W) of a side-by-side JPEG, without its seam."""
    with open_image(file) as image:
        small = {
            box: image.convert("RGB").crop(box).resize((SIDE_PX, SIDE_PX), how)
            for box, how in (((0, 0, 254, 256), Image.BOX), ((258, 0, 512, 256), Image.NEAREST))
        }
    photo, label = map(np.asarray, small.values())
    return photo, CITYSCAPES.to_ids(np.ascontiguousarray(label[..., ::-1]))


def in_numbering(classes: Picture, name: str, other: int) -> Picture:
    """Return the ids of the classes; ``other`` is that of classes that the numbering lacks."""
    numbers = {one: number for number, one in NUMBERINGS[name].classes}
    return np.array([numbers.get(one, other) for one in CITYSCAPES.classes], np.uint8)[classes]


@pytest.fixture(scope="module")
def cityscapes(shared_data, example) -> Followed:
    """The first section, on Cityscapes' own tree."""
    pairs = shared_data("cityscapes_pairs")

    def fill(folder: Path) -> None:
        parts = [("train", "aachen", n) for n in TRAIN] + [("val", "munster", n) for n in VAL]
        for part, city, number in parts:
            photo, classes = real_pair(pairs / part / f"{number}.jpg")
            name = f"{part}/{city}/{city}_{number:06d}_000019"
            save(folder / f"cityscapes/leftImg8bit/{name}_leftImg8bit.png", photo)
            colours = CITYSCAPES.to_colours(classes)[..., ::-1]
            ids = in_numbering(classes, "cityscapes-label", 0)
            kinds = {
                "color": np.dstack([colours, np.full_like(classes, 255)]),
                "labelIds": ids,
                "labelTrainIds": in_numbering(classes, "cityscapes-train", 255),
                "instanceIds": ids.astype(np.uint16) * 1000,
            }
            for kind, pixels in kinds.items():
                save(folder / f"cityscapes/gtFine/{name}_gtFine_{kind}.png", pixels)
            (folder / f"cityscapes/gtFine/{name}_gtFine_polygons.json").write_text("{}")

    return example("Cityscapes", fill)


def test_cityscapes_as_it_ships_ends_in_pictures(cityscapes: Followed) -> None:
    """Its tree is read as it is, and what is painted is a street."""
    inspected = cityscapes.said["p2p-train --data cityscapes --inspect"]
    assert "10 training, 2 validation" in inspected
    assert "36 images, 12 .json" in inspected
    exported = cityscapes.folder / "runs/cityscapes-1/export"
    assert {file.name for file in exported.glob("*.onnx")} == {
        "model-fp32.onnx",
        "model-int8.onnx",
    }
    shares = cityscapes.painted("p2p-run 'cityscapes/gtFine/val/munster/*_color.png'")
    assert list(shares)[:2] in (["building", "road"], ["road", "building"])
    assert 50 < shares["building"] + shares["road"] < 80
    names = {f"munster_{number:06d}_000019_gtFine_color.png" for number in VAL}
    assert {file.name for file in (cityscapes.folder / "munster").iterdir()} == names


def test_models_of_colours_and_of_ids_have_the_same_classes(cityscapes: Followed) -> None:
    """Trained on either, and fed with either, they paint the same."""
    runs = [cityscapes.painted(line) for line in cityscapes.said if line.startswith("p2p-run")]
    assert runs == [runs[0]] * 3
    trained = [line for line in cityscapes.said if line.startswith("p2p-train")][1:]
    notes = [re.search(r"; (road \d.*)$", cityscapes.said[line], re.M)[1] for line in trained]
    assert notes == [notes[0]] * 2


@pytest.fixture(scope="module")
def carla(shared_data, example) -> Followed:
    """The second section, on frames as CARLA's cameras save them: BGRA, ids in red."""
    pairs = shared_data("cityscapes_pairs")

    def fill(folder: Path) -> None:
        for part, number in [("train", n) for n in TRAIN] + [("val", n) for n in VAL]:
            photo, classes = real_pair(pairs / part / f"{number}.jpg")
            ids, empty = in_numbering(classes, "carla", 0), np.zeros_like(classes)
            opaque = empty + 255
            name = f"{number:06d}.png"
            save(folder / "carla" / part / "rgb" / name, np.dstack([photo, opaque]))
            tags = np.dstack([ids, empty, empty, opaque])
            save(folder / "carla" / part / "semantic" / name, tags)

    return example("CARLA", fill)


def test_carla_frames_end_in_a_video(carla: Followed) -> None:
    """The ids in red are those of a street."""
    assert "numbering carla" in carla.said["p2p-train --data carla --ids carla --inspect"]
    shares = carla.painted("p2p-run carla/val/semantic")
    assert 50 < shares["building"] + shares["road"] < 80
    assert (carla.folder / "city.mp4").stat().st_size > 1000


def test_carla_in_the_other_numbering_is_told(carla: Followed) -> None:
    """An id that it lacks is an error; without one, exit code 5 with --strict."""
    flags = "--ids carla-0.9.13 --strict --output other"
    said = follow(f"p2p-run carla/val/semantic {flags}", carla.folder, exit_code=2)
    assert "they look like --ids carla\n" in said
    for file in (carla.folder / "carla/val/semantic").iterdir():
        with open_image(file) as image:
            tags = np.array(image)
        tags[tags[..., 0] > 22, 0] = 1
        save(carla.folder / "few" / file.name, tags)
    said = follow(f"p2p-run few {flags}", carla.folder, exit_code=5)
    assert "look like carla, not carla-0.9.13" in said


def test_carla_callback_translates_a_frame(carla: Followed, monkeypatch) -> None:
    """The snippet runs on what CARLA hands over: raw BGRA."""
    with open_image(carla.folder / "carla/val/semantic/000001.png") as image:
        bgra = np.asarray(image)[..., [2, 1, 0, 3]]
    monkeypatch.chdir(carla.folder)
    names: dict[str, Callable[[object], Picture]] = {}
    exec((carla.folder / "drive.py").read_text(encoding="utf-8"), names)
    frame = SimpleNamespace(raw_data=bgra.tobytes(), height=SIDE_PX, width=SIDE_PX)
    photo = names["photo_of"](frame)
    assert photo.shape == (SIDE_PX, SIDE_PX, 3)
    assert photo.std() > 0.5


def draw_facade(seed: int, classes: tuple[str, ...], side: int = 256) -> tuple[Picture, Picture]:
    """Return a made-up photo (H, W, 3) RGB and the classes (H, W) of a facade."""
    rng = np.random.default_rng(seed)
    ids = np.full((side, side), classes.index("background"), np.uint8)

    def box(name: str, x: int, y: int, width: int, height: int) -> None:
        ids[y : y + height, x : x + width] = classes.index(name)

    left, top = rng.integers(8, 32, 2).tolist()
    box("wall", left, top, side - 2 * left, side)
    box("cornice", left, top, side - 2 * left, 16)
    step = int(rng.integers(52, 68))
    for y in range(top + 32, side - step, step):
        for x in range(left + 12, side - left - 36, step):
            box("window head", x, y - 12, 32, 12)
            box("window", x, y, 32, 24)
            box("window sill", x, y + 24, 32, 10)
    box("door", side // 2 - 16, side - 44, 32, 44)
    colours = rng.integers(60, 220, (len(classes), 3))
    photo = np.clip(colours[ids] + rng.normal(0, 9, (side, side, 3)), 0, 255)
    return photo.astype(np.uint8), ids


@pytest.fixture(scope="module")
def facades(example) -> Followed:
    """The last section, on drawn facades in JPEG, side by side and in two folders."""

    def fill(folder: Path) -> None:
        palette = load_palette(str(folder / "facades.json"))
        seeds = {"train": range(8), "val": range(8, 10), "test": range(10, 13)}
        for part, seed in [(part, seed) for part, many in seeds.items() for seed in many]:
            photo, ids = draw_facade(seed, palette.classes)
            label, name = palette.to_colours(ids)[..., ::-1], f"{seed}.jpg"
            save(folder / "facades" / part / name, np.hstack([photo, label]), quality=92)
            save(folder / "split" / "A" / part / name, photo, quality=92)
            save(folder / "split" / "B" / part / name, label, quality=92)

    return example("Facades", fill)


def test_facades_have_the_palette_of_the_page(facades: Followed) -> None:
    """Nearly all pixels are near its colours, although JPEG has blurred them."""
    line = "p2p-train --data facades --palette facades.json --inspect"
    report = " ".join(facades.said[line].split())
    assert "colours of palette facades, 12 classes" in report
    assert int(re.search(r"(\d+)\.\d% within 31 levels", report)[1]) >= 90
    unpainted = follow("p2p-train --data facades --inspect", facades.folder)
    assert "taken as pictures and no labels are repaired" in " ".join(unpainted.split())


def test_facades_end_in_pictures(facades: Followed) -> None:
    """Also from two folders, of which B is the input."""
    exported = json.loads((facades.folder / "runs/split-1/export/parity.json").read_text())
    assert list(exported) == ["model-fp32.onnx"]
    assert (facades.folder / "runs/facades-1/export/model-fp32.onnx").stat().st_size > 0
    shares = facades.painted("p2p-run split/B/test")
    assert list(shares)[:2] == ["wall", "background"]
    assert shares["window"] >= 5
    assert facades.painted("p2p-run facades/test") == shares
    for name in ("facades-test", "facades-translated"):
        assert len([*(facades.folder / name).iterdir()]) == 3


def test_facades_with_photos_as_inputs_are_refused(facades: Followed) -> None:
    """Folders named A are taken for inputs, so leaving the flags out is told."""
    line = "p2p-train --data split --palette facades.json"
    assert "are input and target swapped" in follow(line, facades.folder, exit_code=2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """The page on pictures instead of labels."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, code in written_files(PICTURES).items():
        for many, few in FEWER:
            code = code.replace(many, few)
        (folder / name).write_text(code, encoding="utf-8")
    return Followed(folder, {line: follow(line, folder) for line in typed_lines(PICTURES)})


@pytest.mark.parametrize("task", ["colour", "holes", "edges"])
def test_each_task_trains_on_pairs_made_of_photos(pictures: Followed, task: str) -> None:
    """Inputs are what the page says of them, and nothing looks like a mistake."""
    line = next(line for line in pictures.said if f"--run-dir runs/{task}" in line)
    assert "inputs are pictures, not label maps (--palette none)" in pictures.said[line]
    assert "suspicious" not in pictures.said[line]
    with open_image(pictures.folder / task / "train/inputs/0000.png") as image:
        made = np.asarray(image)
    if task == "holes":
        assert 0.06 < (made == (255, 0, 255)).all(axis=2).mean() < 0.2
    else:
        assert made.shape == (256, 256)
        assert (task == "edges") == ({*np.unique(made).tolist()} == {0, 255})
    assert (pictures.folder / "runs" / task / "samples" / "latest.png").stat().st_size > 0


def test_grey_pictures_become_pictures_in_colour(pictures: Followed) -> None:
    """The device resizes and translates them; no class is mentioned."""
    (said,) = (text for line, text in pictures.said.items() if line.startswith("p2p-run"))
    assert "painted" not in said
    assert "palette" not in said
    with open_image(pictures.folder / "coloured" / "0010.png") as image:
        assert np.ptp(np.asarray(image), axis=2).max() > 0
    assert (pictures.folder / "runs/colour/results/index.html").stat().st_size > 0
