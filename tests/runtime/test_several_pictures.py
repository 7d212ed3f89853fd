"""Several pictures as arguments, and pictures that are pairs."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from commands import Run
from toy_runtime import label_frame


def write(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture; the suffix selects the format."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def read(path: Path) -> np.ndarray:
    """Return the pixels of a picture."""
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Return three label maps of two sizes, in two folders."""
    places = [tmp_path / "in" / "a.png", tmp_path / "in" / "b.png", tmp_path / "c.png"]
    return [write(place, label_frame(index, 48 + 16 * index)) for index, place in enumerate(places)]


def test_fault_120_each_of_several_pictures_gets_its_own(
    three: list[Path], tmp_path: Path, toy_run: Run
) -> None:
    """They become NAME-translated.png beside the user, each of its own size."""
    done = toy_run(*three)
    assert done.stdout.startswith("3 frames in ")
    assert "written to *-translated.png\n" in done.stdout
    for path in three:
        made = read(tmp_path / f"{path.stem}-translated.png")
        assert made.shape == read(path).shape
    again = toy_run(*three, exit_code=3)
    assert "-translated.png exists; give --overwrite" in again.stderr
    toy_run(*three, "--overwrite")


def test_fault_120_several_pictures_go_into_a_folder(
    three: list[Path], tmp_path: Path, toy_run: Run
) -> None:
    """As of a folder: what is written does not depend on whether the shell expands a pattern."""
    toy_run(*three[:2], "--output", "out")
    toy_run("in/*.png", "--output", "quoted")
    written = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
               for name in ("out", "quoted")]  # fmt: skip
    assert written[0] == written[1]
    assert set(written[0]) == {"a.png", "b.png"}


def test_fault_120_a_bad_one_of_several_is_named(
    three: list[Path], tmp_path: Path, toy_run: Run
) -> None:
    """The others are translated; --strict makes it exit 5."""
    three[1].write_bytes(three[1].read_bytes()[:90])
    done = toy_run(*three)
    assert "b.png is truncated; going on without it" in done.stderr
    assert {path.name for path in tmp_path.glob("*-translated.png")} == {
        "a-translated.png",
        "c-translated.png",
    }
    toy_run(*three, "--overwrite", "--strict", exit_code=5)


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("in/a.png", "a.png"), 2, "two pictures whose translations would have the same name"),
        (("in/a.png", "in/a.png"), 2, "two pictures whose translations would have the same name"),
        (("in/a.png", "notes.txt"), 2, "several inputs must be pictures (.png, "),
        (("in/a.png", "in"), 2, "not in"),
        (("in/a.png", "gone.png"), 2, "'gone.png' does not exist"),
        (("in/a.png", "c.png", "--output", "one.png"), 3, "one.png takes one picture"),
        (("in/a.png", "c.png", "--resume"), 2, "name folders only"),
        (("in/a.png", "x-translated.png", "x.png"), 3, "x-translated.png is an input"),
        (("in/a.png", "c.png", "--report", "c-translated.png"), 3, "is an output"),
        (("in/a.png", "x.png", "--output", "mix", "--overwrite"), 3, "x.png is an input"),
        (("in/a.png", "--video", "c.png"), 2, "INPUT and --video name two sources"),
    ],
)
def test_fault_120_what_is_refused_before_the_first(
    three: list[Path], tmp_path: Path, toy_run: Run, words: tuple[str, ...], code: int, line: str
) -> None:
    """One line says why, and nothing is written."""
    for name in ("a.png", "x.png", "x-translated.png"):
        write(tmp_path / name, label_frame(0))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "mix").mkdir()
    (tmp_path / "mix" / "x.png").hardlink_to(tmp_path / "x.png")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    done = toy_run(*words, exit_code=code)
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_fault_122_several_pictures_take_any_name(tmp_path: Path, toy_run: Run) -> None:
    """Names that are not UTF-8 become names that are not UTF-8."""
    names = [os.fsdecode(b"\xff%d.png" % index) for index in range(2)]
    for name in names:
        write(tmp_path / "x.png", label_frame(0)).rename(tmp_path / name)
    toy_run(*names)
    written = [path.name for path in tmp_path.glob("*-translated.png")]
    assert sorted(map(os.fsencode, written)) == [b"\xff%d-translated.png" % n for n in range(2)]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pairs_are_translated_by_one_half(
    tmp_path: Path, toy_run: Run, side: str, suffix: str
) -> None:
    """--input-side of a folder gives what the halves alone give, alone or side by side."""
    label, photo = label_frame(3), np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    halves = (label, photo) if side == "left" else (photo, label)
    pair = write(tmp_path / "pairs" / f"one{suffix}", np.hstack(halves))
    half = np.split(read(pair), 2, axis=1)[side == "right"]
    write(tmp_path / "alone" / "one.png", half if suffix == ".jpg" else label)
    toy_run("alone")
    expected = read(tmp_path / "alone-translated" / "one.png")
    for words, place in (
        (("pairs",), "pairs-translated/one.png"),
        ((pair,), "one-translated.png"),
        ((pair, "--side-by-side", "--output", "both.png"), "both.png"),
    ):
        toy_run(*words, "--input-side", side)
        made = read(tmp_path / place)
        assert made.shape == (48, 128 if "both" in place else 64, 3)
        assert np.array_equal(made[:, -64:], expected)


def test_halves_of_palette_pngs_are_ids(tmp_path: Path, toy_run: Run) -> None:
    """Of a PNG with a palette, the half counts for the indices, too."""
    from PIL import Image

    ids = np.full((48, 128), 7, np.uint8)
    ids[:, :64] = np.arange(64) * 4  # no ids at all
    picture = Image.fromarray(ids, "L")
    picture.putpalette([level for index in range(256) for level in (index, 255 - index, 9)])
    picture.save(tmp_path / "ids.png")
    words = ("ids.png", "--labels", "ids", "--ids", "cityscapes-label", "--input-side")
    toy_run(*words, "right")
    assert np.array_equal(
        read(tmp_path / "ids-translated.png")[0, 0], 255 - np.array([128, 64, 128])
    )
    toy_run(*words, "left", "--overwrite", exit_code=2)


def test_what_has_no_halves_is_refused(tmp_path: Path, toy_run: Run, video: Path) -> None:
    """Videos, and pictures of an odd width."""
    done = toy_run(video, "--input-side", "left", exit_code=2)
    assert "--input-side is for pictures, not for a video file" in done.stderr
    write(tmp_path / "odd.png", label_frame(0, width=65))
    done = toy_run("odd.png", "--input-side", "left", exit_code=2)
    assert "odd.png is 65 px wide; two halves need an even width" in done.stderr


def test_what_a_folder_holds_besides_pictures_is_named(
    three: list[Path], tmp_path: Path, toy_run: Run
) -> None:
    """Pictures of a kind that is not read, and folders, are not left out without a word."""
    write(tmp_path / "in" / "d.tif", label_frame(4))
    (tmp_path / "in" / "more").mkdir()
    done = toy_run("in")
    assert "left out of in: d.tif, more\n" in done.stderr
    assert "no picture (.png, " in toy_run("in/d.tif", exit_code=2).stderr
