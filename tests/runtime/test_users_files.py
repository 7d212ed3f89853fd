"""Users' files: inputs, models and reports are never replaced; single pictures; going on."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from test_ids import street

from commands import Run
from p2p_runtime import files
from p2p_runtime.errors import OutputError
from p2p_runtime.files import protected, write_bytes
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.pictures import header_size


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Return a folder with three label maps."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for index in range(3):
        write_map(folder / f"frame{index}.png", index)
    return folder


def write_map(path: Path, shift: int = 0, width: int = 80) -> Path:
    """Write a label map; the suffix selects the format."""
    pixels = CITYSCAPES.to_colours(np.roll(street(), shift, axis=1))
    pixels = cv2.resize(pixels, (width, 60), interpolation=cv2.INTER_NEAREST)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of each file in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("labels/*.png", "labels"),
        ("labels/*.png", "./labels/../labels"),
        ("labels", "linked"),
        ("labels/frame1.png", "labels"),
        ("labels/frame1.png", "labels/frame1.png"),
        ("labels/frame1.png", "link.png"),
    ],
)
def test_fault_96_inputs_are_not_replaced(
    labels: Path, tmp_path: Path, toy_run: Run, source: str, output: str
) -> None:
    """Whatever --overwrite says, and by whatever name: one line, and every file as it was."""
    (tmp_path / "linked").symlink_to(labels)
    (tmp_path / "link.png").symlink_to(labels / "frame1.png")
    before = contents(labels)
    done = toy_run("--video", source, "--output", output, "--overwrite", exit_code=3)
    assert "is an input" in done.stderr or "is the input" in done.stderr
    assert contents(labels) == before


def test_fault_96_links_into_the_input_are_not_followed(
    labels: Path, tmp_path: Path, toy_run: Run
) -> None:
    """A name in the output folder that links to an input picture is refused before any frame."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "frame2.png").hardlink_to(labels / "frame0.png")
    before = contents(labels)
    done = toy_run("labels", "--output", "out", "--overwrite", exit_code=3)
    assert "out/frame2.png is an input" in done.stderr
    assert contents(labels) == before
    assert [path.name for path in out.iterdir()] == ["frame2.png"]


def test_a_file_is_protected_only_during_its_block(tmp_path: Path) -> None:
    """Writers are refused by any name within, and work again afterwards."""
    path = tmp_path / "a"
    path.write_bytes(b"mine")
    (tmp_path / "b").symlink_to(path)
    with protected([path, tmp_path / "missing"], "the model"):
        for name in ("a", "b"):
            with pytest.raises(OutputError, match=f"{name} is the model; name another"):
                write_bytes(tmp_path / name, b"other")
        with protected([path], "an input"), pytest.raises(OutputError, match="the model"):
            write_bytes(path, b"other")
        with pytest.raises(OutputError):
            write_bytes(path, b"other")
    write_bytes(path, b"other")
    assert path.read_bytes() == b"other"


@pytest.mark.parametrize("what", ["input", "model", "output", "stranger", "text", "picture"])
def test_fault_97_a_report_replaces_only_a_report(
    labels: Path, tmp_path: Path, toy_run: Run, bundle: Path, what: str
) -> None:
    """Inputs, models, outputs and files of other kinds stay; an older report is replaced."""
    (tmp_path / "stranger.json").write_text('{"name": "mine"}')
    (tmp_path / "text.json").write_text("notes")
    places = {
        "input": labels / "frame1.png", "model": bundle, "output": tmp_path / "out",
        "stranger": tmp_path / "stranger.json", "text": tmp_path / "text.json",
        "picture": write_map(tmp_path / "other.png"),
    }  # fmt: skip
    place = places[what]
    before = place.read_bytes() if place.exists() else None
    done = toy_run("labels", "--output", "out", "--report", place, exit_code=3)
    assert len(done.stderr.splitlines()[-1]) < 300 and "name another" in done.stderr
    assert (place.read_bytes() if place.is_file() else None) == before
    for _ in range(2):
        toy_run("labels", "--output", "null:", "--report", "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["frames_out"] == 3


def test_fault_98_pictures_of_an_earlier_run_are_told(
    labels: Path, tmp_path: Path, toy_run: Run
) -> None:
    """A shorter run over a longer one says how many pictures are not its own."""
    toy_run("labels", "--output", "out")
    (labels / "frame2.png").unlink()
    done = toy_run("labels", "--output", "out", "--overwrite")
    assert "out holds 1 picture of other runs" in done.stderr


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_fault_100_what_is_no_file_is_not_removed(
    labels: Path, tmp_path: Path, toy_run: Run, kind: str
) -> None:
    """A named pipe or a device as output is refused, and still there."""
    place = tmp_path / "out.mp4"
    if kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/null")
    done = toy_run("labels", "--output", "out.mp4", "--overwrite", exit_code=3)
    assert "not a regular file" in done.stderr
    assert place.exists() and not place.is_file()


@pytest.mark.parametrize("refused", [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK])
@pytest.mark.parametrize("call", ["chmod", "fsync", "flock"])
def test_fault_110_file_systems_without_rights_are_written(
    labels: Path,
    toy_run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    call: str,
    refused: int,
) -> None:
    """What CIFS, FUSE, NFS or Lustre refuse is done without, after one warning."""
    original = {"chmod": Path.chmod, "fsync": os.fsync, "flock": fcntl.flock}[call]
    refusals = 0

    def refuse(*arguments: Any) -> Any:
        nonlocal refusals
        folder = call == "fsync" and Path(f"/proc/self/fd/{arguments[0]}").is_dir()
        if call == "fsync" and not folder:
            return original(*arguments)
        refusals += 1
        raise OSError(refused, os.strerror(refused))

    owner = {"chmod": Path, "fsync": os, "flock": fcntl}[call]
    monkeypatch.setattr(owner, call, refuse)
    monkeypatch.setattr(files, "_warned", set())
    done = toy_run("labels", "--output", "out", "--report", "report.json")
    assert refusals >= 1
    assert done.stderr.count("files here cannot") == 1
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


def test_a_disk_that_fails_is_no_missing_right(
    labels: Path, toy_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO from a folder's flush is an error, exit 3."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    toy_run("labels", "--output", "out", exit_code=3)


@pytest.mark.parametrize("broken", ["frame0.png", "frame1.png", "frame2.png"])
def test_fault_118_one_bad_picture_does_not_end_a_run(
    labels: Path, tmp_path: Path, toy_run: Run, broken: str
) -> None:
    """It is named and counted; the others are translated; --strict makes it exit 5."""
    (labels / broken).write_bytes((labels / broken).read_bytes()[:200])
    done = toy_run("labels", "--output", "out")
    assert f"{broken} is " in done.stderr and "going on without it" in done.stderr
    assert "1 frame could not be read" in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2
    toy_run("labels", "--output", "out", "--overwrite", "--strict", exit_code=5)


def test_fault_118_only_bad_pictures_are_an_error(labels: Path, toy_run: Run) -> None:
    """If none can be read, one line and exit 2."""
    for path in labels.iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    done = toy_run("labels", "--output", "null:", exit_code=2)
    assert "none of 3 pictures can be read" in done.stderr


def test_fault_118_a_run_is_resumed(labels: Path, tmp_path: Path, toy_run: Run) -> None:
    """--resume leaves out what is there, keeps it, and writes the rest."""
    toy_run("labels/frame[01].png", "--output", "out")
    before = contents(tmp_path / "out")
    done = toy_run("labels", "--output", "out", "--resume")
    assert done.stdout.startswith("1 frame in ")
    after = contents(tmp_path / "out")
    assert len(after) == 3 and before.items() <= after.items()
    refused = toy_run("labels", "--output", "out.mp4", "--resume", exit_code=2)
    assert "folder" in refused.stderr


def test_fault_119_a_folder_becomes_a_video_of_a_named_rate(
    labels: Path, tmp_path: Path, toy_run: Run
) -> None:
    """--fps counts for pictures; a folder with a dot in its name is a folder, also as output."""
    labels.rename(tmp_path / "labels.v2")
    toy_run("labels.v2", "--output", "film.mp4", "--fps", "10")
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].average_rate == 10
    toy_run("labels.v2")
    assert len(list((tmp_path / "labels.v2-translated").iterdir())) == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("outputs", [("film.mp4",), ("out", "film.mkv"), ("-",)])
def test_fault_119_pictures_of_several_sizes_are_no_video(
    tmp_path: Path, toy_run: Run, suffix: str, outputs: tuple[str, ...]
) -> None:
    """One line names the first that is odd, and nothing is written; a folder takes them."""
    for index in range(4):
        write_map(tmp_path / f"frame{index}{suffix}", width=80 + 2 * (index > 1))
    words = [word for output in outputs for word in ("--output", output)]
    done = toy_run(f"frame*{suffix}", *words, exit_code=2)
    assert done.stdout == ""
    assert f"frame2{suffix} is 82x60, frame0{suffix} is 80x60: all frames" in done.stderr
    assert not any((tmp_path / output).exists() for output in outputs)
    if outputs != ("-",):  # which needs a descriptor of its own
        toy_run(f"frame*{suffix}", *words, "--max-frames", 2)
    toy_run(f"frame*{suffix}", "--output", "folder")
    assert len(list((tmp_path / "folder").iterdir())) == 4


def test_fault_119_a_picture_that_cannot_be_read_has_no_size(labels: Path, toy_run: Run) -> None:
    """It is named and left out, as always."""
    (labels / "frame1.png").write_bytes(b"")
    done = toy_run("labels", "--output", "film.mp4")
    assert "frame1.png is empty; going on without it" in done.stderr


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", [".png", ".jpg", "progressive"])
def test_fault_119_headers_give_the_size_of_the_picture(kind: str, orientation: int) -> None:
    """Width and height are those after turning; where the header does not say it, it is None."""
    picture = Image.new("RGB", (7, 5))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    form = "PNG" if kind == ".png" else "JPEG"
    picture.save(file, form, exif=exif, progressive=kind == "progressive")
    found = header_size(file.getvalue())
    if kind == ".png":
        assert found is None
        file = io.BytesIO()
        picture.save(file, "PNG")
        found, orientation = header_size(file.getvalue()), 1
    assert found == ((5, 7) if orientation > 4 else (7, 5))
    content = file.getvalue()
    assert {header_size(content[:length]) for length in range(len(content))} <= {found, None}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_fault_120_a_picture_is_translated(tmp_path: Path, toy_run: Run, suffix: str) -> None:
    """It becomes a PNG beside the user, or what the output's suffix says."""
    picture = write_map(tmp_path / f"label{suffix}")
    done = toy_run(picture)
    assert "written to label-translated.png\n" in done.stdout
    assert (tmp_path / "label-translated.png").read_bytes().startswith(b"\x89PNG")
    toy_run(picture, exit_code=3)  # it exists
    toy_run(picture, "--output", f"other{suffix}")
    assert (tmp_path / f"other{suffix}").read_bytes()[:2] == picture.read_bytes()[:2]


def test_fault_120_several_pictures_do_not_fit_into_one(labels: Path, toy_run: Run) -> None:
    """A folder into a picture is refused before the first frame."""
    done = toy_run("labels", "--output", "one.png", exit_code=3)
    assert "one.png takes one picture" in done.stderr


@pytest.mark.parametrize("length", [200, 240, 251])
def test_fault_135_names_near_the_limit_are_written(
    tmp_path: Path, toy_run: Run, length: int
) -> None:
    """Temporary names do not add to a name; one that is too long is one line, exit 3."""
    picture = write_map(tmp_path / "label.png")
    toy_run(picture, "--output", "n" * length + ".png")
    done = toy_run(picture, "--output", "n" * 252 + ".png", exit_code=3)
    assert len(done.stderr.splitlines()[-1]) < 400
