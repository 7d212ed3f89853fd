"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from p2p_runtime.errors import OutputError
from p2p_runtime.files import atomic_file, exclusive_lock, write_bytes, write_picture, write_text


def test_fault_03_bytes_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before it is renamed, and the folder after."""
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        events.append(f"sync {kind}")
        sync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_bytes(tmp_path / "x", b"content")
    assert events == ["sync file", "rename", "sync folder"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """When writing fails half-way, the old content stands and no temporary file is left."""
    path = tmp_path / "x"
    write_text(path, "old")

    def write_half() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]  # noqa: PTH208  # hidden files count, too


def test_fault_122_pictures_take_any_name(tmp_path: Path) -> None:
    """A name that is not UTF-8 is written; as a suffix, it is no kind of picture."""
    image = np.zeros((2, 2, 3), np.uint8)
    write_picture(tmp_path / os.fsdecode(b"\xff\xfe.png"), image)
    with pytest.raises(OutputError, match="is no kind of picture"):
        write_picture(tmp_path / os.fsdecode(b"x.\xff"), image)
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe.png"]  # noqa: PTH208  # bytes


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one OutputError with the path and the system's words."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*x: No space left on device"):
        write_text(tmp_path / "x", "content")
    assert not list(tmp_path.iterdir())


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    """Files are as readable as the user's umask says, not private as temporary files are."""
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_picture_is_written_in_the_format_of_its_suffix(tmp_path: Path) -> None:
    """PNG keeps every pixel, JPEG begins as JPEG does, and an unknown suffix says what to do."""
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    write_picture(tmp_path / "x.png", image)
    write_picture(tmp_path / "x.jpg", image)
    png = np.frombuffer((tmp_path / "x.png").read_bytes(), np.uint8)
    assert np.array_equal(cv2.imdecode(png, cv2.IMREAD_COLOR), image)
    assert (tmp_path / "x.jpg").read_bytes().startswith(b"\xff\xd8")
    for name in ("x.figure", "x"):
        with pytest.raises(OutputError, match=r"try \.png"):
            write_picture(tmp_path / name, image)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jpg", "x.png"]


def test_a_lock_is_held_once_and_freed(tmp_path: Path) -> None:
    """A second holder gets the message; after the first has gone, it gets the lock."""
    lock = tmp_path / ".lock"
    with (
        exclusive_lock(lock, "busy"),
        pytest.raises(OutputError, match="busy"),
        exclusive_lock(lock, "busy"),
    ):
        pass
    with exclusive_lock(lock, "busy"):
        pass
