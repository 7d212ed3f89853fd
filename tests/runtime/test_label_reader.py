"""Whether a source holds colours or class ids, and what a run says of what it paints."""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from test_ids import NAMES, numbered, street

from commands import Run
from p2p_runtime.errors import ConfigError, SourceError
from p2p_runtime.labels.ids import NUMBERINGS
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.reader import LabelReader, Labels
from p2p_runtime.translate.painted import PaintedShares
from p2p_runtime.video.sources import open_source

Pixels = NDArray[Any]


def write(path: Path, pixels: Pixels) -> Path:
    """Write a picture; the suffix selects the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def png_with_palette(ids: Pixels) -> bytes:
    """Return a PNG of colour type 3 whose indices are ids, and whose colours mean nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        size, checksum = (
            struct.pack(">I", len(content)),
            struct.pack(">I", zlib.crc32(kind + content)),
        )
        return size + kind + content + checksum

    height, width = ids.shape
    rows = b"".join(b"\0" + row.tobytes() for row in ids.astype(np.uint8))
    colours = bytes(level * 5 % 256 for level in range(768))
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", colours),
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ])  # fmt: skip


def painted(folder: Path, **settings: Any) -> Pixels:
    """Return the first picture of a source as the model gets it."""
    reader = LabelReader(CITYSCAPES, **settings)
    task = next(iter(open_source(str(folder), labels=reader)))
    return np.asarray(task.image)


STORED: dict[str, Callable[[Pixels], Pixels]] = {
    "one channel": lambda ids: ids,
    "16 bit": lambda ids: ids.astype(np.uint16),
    "equal channels": lambda ids: np.dstack([ids] * 3),
    "red, as CARLA writes it": lambda ids: np.dstack([ids * 0, ids * 0, ids, ids * 0 + 255]),
    "green": lambda ids: np.dstack([ids * 0, ids, ids * 0]),
}


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("name", NAMES)
def test_fault_85_one_street_in_every_numbering_gives_equal_pixels(
    name: str, how: str, tmp_path: Path
) -> None:
    """Named or recognised, from whatever channel, ids become what the colours are."""
    write(tmp_path / "a.png", STORED[how](numbered(name, street())))
    for settings in ({"ids": name}, {"labels": "auto"}):
        assert np.array_equal(painted(tmp_path, **settings), CITYSCAPES.to_colours(street()))


def test_fault_87_the_indices_of_a_palette_png_are_ids(tmp_path: Path) -> None:
    """Its colours are not looked at once ids were asked for."""
    (tmp_path / "a.png").write_bytes(png_with_palette(numbered("carla", street())))
    assert np.array_equal(painted(tmp_path, ids="carla"), CITYSCAPES.to_colours(street()))


def test_fault_87_ignored_ids_are_painted_unlabelled(tmp_path: Path) -> None:
    """255 and 254 are black, whatever the numbering says of the rest."""
    ids = numbered("cityscapes-train", street())
    ids[:5], ids[-5:] = 255, 254
    write(tmp_path / "a.png", ids)
    found = painted(tmp_path)
    assert not found[:5].any() and not found[-5:].any()
    assert np.array_equal(found[5:-5], CITYSCAPES.to_colours(street())[5:-5])


@pytest.mark.parametrize("how", ["one channel", "red, as CARLA writes it", "16 bit"])
def test_fault_86_ids_are_refused_as_colours(how: str, tmp_path: Path) -> None:
    """What the user called colours is in truth ids: an error that names the flag."""
    write(tmp_path / "a.png", STORED[how](numbered("carla", street())))
    with pytest.raises(SourceError, match=r"holds class ids, not colours.*--ids cityscapes-label"):
        painted(tmp_path, labels="colour")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
@pytest.mark.parametrize("labels", ["auto", "colour", "ids"])
def test_fault_86_ids_that_a_codec_has_altered_are_refused(
    suffix: str, labels: Labels, tmp_path: Path
) -> None:
    """A JPEG of ids is no map of ids any more, and no map of colours."""
    ids = np.kron(numbered("cityscapes-label", street()), np.ones((3, 3), np.uint8))
    quality = [cv2.IMWRITE_WEBP_QUALITY, 80] if suffix == ".webp" else []
    content = cv2.imencode(suffix, ids, quality)[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(SourceError, match=r"lossy codec.*PNG"):
        painted(tmp_path, labels=labels)


def test_fault_86_the_instance_camera_of_carla_has_its_ids_in_red(tmp_path: Path) -> None:
    """Named, they are read; else the flag is named; with --labels colour it is colours."""
    ids = numbered("carla", street())
    objects = np.random.default_rng(0).integers(0, 256, (*ids.shape, 2), np.uint8)
    write(tmp_path / "a.png", np.dstack([objects, ids, np.full_like(ids, 255)]))
    assert np.array_equal(painted(tmp_path, ids="carla"), CITYSCAPES.to_colours(street()))
    with pytest.raises(SourceError, match=r"instance camera.*--ids carla"):
        painted(tmp_path)


@pytest.mark.parametrize("ignored", [0, 20])
def test_fault_86_ids_in_a_jpeg_are_told_also_beside_ignored_ones(
    ignored: int, tmp_path: Path
) -> None:
    """255 does not hide the low ids; white lines on black are no ids."""
    ids = np.kron(numbered("cityscapes-train", street()), np.ones((4, 4), np.uint8))
    ids[: 2 * ignored] = 255
    write(tmp_path / "a.jpg", ids)
    with pytest.raises(SourceError, match="lossy codec has altered"):
        painted(tmp_path)
    lines = np.zeros((160, 160), np.uint8)
    lines[::12], lines[:, ::17] = 255, 255
    write(tmp_path / "a.jpg", lines)
    painted(tmp_path)


def test_colours_are_not_taken_for_ids_whatever_comes_first(tmp_path: Path) -> None:
    """A black picture decides nothing; then colours stay colours."""
    colours = CITYSCAPES.to_colours(street())
    write(tmp_path / "0.png", np.zeros_like(colours))
    write(tmp_path / "1.png", colours)
    reader = LabelReader(CITYSCAPES)
    black, shown = open_source(str(tmp_path), labels=reader)
    assert not black.image.any() and np.array_equal(shown.image, colours)
    assert reader.numbering is None


@pytest.mark.parametrize("plain", [1, 3, 9])
def test_fault_86_plain_pictures_do_not_decide_what_a_source_holds(
    plain: int, tmp_path: Path
) -> None:
    """However many maps of one class come first, the first street shows that these are ids."""
    for number in range(plain):
        write(tmp_path / f"{number}.png", np.zeros_like(street()))
    write(tmp_path / "9.png", numbered("cityscapes-label", street()))
    reader = LabelReader(CITYSCAPES)
    *_, last = (np.asarray(task.image) for task in open_source(str(tmp_path), labels=reader))
    assert np.array_equal(last, CITYSCAPES.to_colours(street()))


def test_fault_85_a_wrong_numbering_is_named_after_a_plain_picture(tmp_path: Path) -> None:
    """A map of one class fits every numbering; the first street is compared."""
    write(tmp_path / "0.png", np.full_like(street(), 7))
    write(tmp_path / "1.png", numbered("cityscapes-label", street()))
    reader = LabelReader(CITYSCAPES, ids="carla")
    list(open_source(str(tmp_path), labels=reader))
    assert reader.warning is not None
    assert "try --ids cityscapes-label" in reader.warning


def test_ids_of_nobody_knows_which_numbering_list_the_choices(tmp_path: Path) -> None:
    """Without a name, without a trained numbering, and not recognised: no guess."""
    write(tmp_path / "a.png", np.tile(np.arange(8, dtype=np.uint8), (8, 1)))
    with pytest.raises(SourceError, match="only you know whose; choose with --ids city"):
        painted(tmp_path)
    trained = NUMBERINGS["camvid"]
    expected = CITYSCAPES.paint(trained.to_classes(np.arange(8)[None], CITYSCAPES))
    assert np.array_equal(painted(tmp_path, trained=trained)[:1], expected)


@pytest.mark.parametrize("wrong", NAMES)
@pytest.mark.parametrize("right", NAMES)
def test_a_wrong_numbering_is_named_with_the_right_one(
    right: str, wrong: str, tmp_path: Path
) -> None:
    """Each pair of numberings is an error or a warning that says which; a right one is silent."""
    write(tmp_path / "a.png", numbered(right, street()))
    reader = LabelReader(CITYSCAPES, ids=wrong)
    try:
        next(iter(open_source(str(tmp_path), labels=reader)))
    except SourceError as error:
        assert wrong != right and f"look like --ids {right}" in str(error)
    else:
        assert (reader.warning is None) == (wrong == right)
        assert wrong == right or f"try --ids {right}" in str(reader.warning)


def test_fault_121_cityscapes_folders_need_a_pattern(tmp_path: Path) -> None:
    """Colours and ids of the same streets lie side by side; one kind of them is one source."""
    for kind in ("labelIds", "instanceIds", "color"):
        ids = numbered("cityscapes-label", street())
        shown = CITYSCAPES.to_colours(street()) if kind == "color" else ids
        write(tmp_path / f"ulm_000001_000019_gtFine_{kind}.png", shown)
    for kinds in (tmp_path, tmp_path / "*Ids.png"):
        with pytest.raises(SourceError, match=r"instanceIds, labelIds; choose with a pattern"):
            open_source(str(kinds), labels=LabelReader(CITYSCAPES))
    (task,) = open_source(str(tmp_path / "*_labelIds.png"), labels=LabelReader(CITYSCAPES))
    assert np.array_equal(task.image, CITYSCAPES.to_colours(street()))


def test_a_numbering_does_not_go_with_colours(tmp_path: Path) -> None:
    """--ids and --labels colour contradict each other; --ids on colours is refused."""
    with pytest.raises(ConfigError, match="leave --labels colour out"):
        LabelReader(CITYSCAPES, labels="colour", ids="carla")
    write(tmp_path / "a.png", CITYSCAPES.to_colours(street()))
    with pytest.raises(SourceError, match="holds colours, not class ids"):
        painted(tmp_path, ids="carla")


def test_the_command_says_what_it_painted(tmp_path: Path, p2p_run: Run) -> None:
    """One line has the largest classes, the report all of them."""
    write(tmp_path / "in" / "a.png", numbered("carla", street()))
    report = tmp_path / "r.json"
    words = ("in", "--output", "null:", "--ids", "carla")
    done = p2p_run(*words, "--report", report, "--strict")
    assert "class ids of carla: 0 unlabelled, 1 road" in done.stderr
    assert "painted: road 4" in done.stderr
    document = json.loads(report.read_text())
    assert document["painted"]["road"] == pytest.approx(0.42, abs=0.1)
    assert document["label_warnings"] == []


def test_a_wrong_numbering_is_a_loss_under_strict(tmp_path: Path, p2p_run: Run) -> None:
    """The warning stands in the report, and --strict ends with 5."""
    write(tmp_path / "in" / "a.png", numbered("carla", street()))
    words = ("in", "--output", "null:", "--ids", "cityscapes-label")
    p2p_run(*words)
    strict = p2p_run(*words, "--strict", exit_code=5)
    assert "try --ids carla" in strict.stderr.splitlines()[-1]


def frames_of(*shares: float) -> Pixels:
    """Return a frame (10, 100) with shares of the first classes."""
    counts = [round(1000 * share) for share in shares]
    return np.repeat(np.arange(len(shares), dtype=np.uint8), counts).reshape(10, 100)


def test_one_class_over_nearly_everything_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """In all of the first frames; a single such frame is none to speak of."""
    for last, expected in (((0.99, 0.01), True), ((0.5, 0.5), False)):
        caplog.clear()
        shares = PaintedShares(CITYSCAPES, None)
        with caplog.at_level(logging.INFO):
            for frame in [*[frames_of(0.99, 0.01)] * 4, frames_of(*last)]:
                shares.add(frame)
        assert (shares.warning is not None) is expected
        assert ("nearly everything is unlabelled" in caplog.text) is expected


def test_shares_unlike_those_of_the_training_data_are_told() -> None:
    """They are compared with the contract's; near ones are not."""
    trained = (0.1, 0.2, 0.7) + (0.0,) * (len(CITYSCAPES.classes) - 3)
    for now, expected in (((0.2, 0.2, 0.6), False), ((0.7, 0.25, 0.05), True)):
        shares = PaintedShares(CITYSCAPES, (trained,) * 3)
        for _ in range(5):
            shares.add(frames_of(*now))
        assert (shares.warning is not None) is expected


def test_real_maps_of_a_wrong_numbering_name_the_right_one(
    shared_data: Callable[[str], Path],
) -> None:
    """Of real maps in each numbering, at least 95 in 100 wrong ones are told; no right one is."""
    files = sorted(shared_data("cityscapes_pairs/val").glob("*.jpg"))[::25]
    told = wrong_ones = 0
    for file in files:
        pair = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert pair is not None
        drawn = CITYSCAPES.to_ids(np.ascontiguousarray(np.asarray(pair, np.uint8)[::2, 256::2]))
        for right in NAMES:
            ids = numbered(right, drawn)
            for wrong in NAMES:
                reader = LabelReader(CITYSCAPES, ids=wrong)
                try:
                    said = reader(ids, "map") is None or reader.warning or ""
                except SourceError as error:
                    said = str(error)
                assert wrong != right or said == "", (file, right)
                wrong_ones += wrong != right
                told += wrong != right and f"--ids {right}" in str(said)
    assert told >= 0.95 * wrong_ones
