"""A disk that is full, or breaks, at a chosen call."""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

_NAMED = {"open": (os, Path), "mkdir": (os, Path), "replace": (os, Path), "rename": (os, Path)}
"""Calls that name a file, and where they live; Python 3.10's Path does not come by os."""

_NUMBERED = {"fsync": 0, "write": 0, "sendfile": 0, "ftruncate": 0}
"""Calls of os that take a descriptor, and its place."""


class FailingDisk:
    """Counts what is written into a folder, and lets chosen calls fail.

    Attributes:
        calls: what was asked of the folder, each (call, file).
        targets: the name that a temporary file got in the end.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self.targets: dict[str, str] = {}
        self._folder, self._patch = str(folder), patch
        self._fail, self._code = range(0), errno.ENOSPC

    @contextmanager
    def watch(self, first: int = 0, end: int = 0, code: int = errno.ENOSPC) -> Iterator[None]:
        """Count calls during the block; those numbered from ``first`` to ``end`` fail."""
        self.calls, self._fail, self._code = [], range(first, end), code
        with self._patch.context() as patch:
            self._install(patch)
            yield

    def touch(self, call: str, file: object) -> None:
        """Count a call, and fail if it is one to fail."""
        path = self._path(file)
        if path is None:
            return
        self.calls.append((call, path))
        if len(self.calls) - 1 in self._fail:
            named = () if isinstance(file, int) else (path,)  # as the system's errors are
            raise OSError(self._code, os.strerror(self._code), *named)

    def _path(self, file: object) -> str | None:
        if isinstance(file, int):
            with suppress(OSError):
                return self._path(Path(f"/proc/self/fd/{file}").readlink())
            return None
        path = str(Path(os.fsdecode(file)).absolute())  # type: ignore[arg-type]
        return path if f"{path}{os.sep}".startswith(f"{self._folder}{os.sep}") else None

    def _install(self, patch: pytest.MonkeyPatch) -> None:
        for name, places in _NAMED.items():
            for place in places:
                self._wrap(patch, place, name)
        for name in _NUMBERED:
            self._wrap(patch, os, name)
        self._wrap(patch, Path, "hardlink_to")
        for place in (io, builtins):
            patch.setattr(place, "open", self._open)

    def _wrap(self, patch: pytest.MonkeyPatch, place: Any, name: str) -> None:
        real = getattr(place, name)

        def wrapped(first: Any, *others: Any, **more: Any) -> Any:
            idle = name == "mkdir" and Path(first).exists()
            if not idle and (name != "open" or _writes(others, more)):
                self.touch(name, first)
            if name in ("replace", "rename"):
                self.targets[str(self._path(first))] = str(self._path(others[0]))
            return real(first, *others, **more)

        patch.setattr(place, name, wrapped)

    def _open(self, file: Any, mode: str = "r", *others: Any, **more: Any) -> Any:
        if not set(mode) & set("wax+"):
            return _OPEN(file, mode, *others, **more)
        if not isinstance(file, int):
            self.touch("open", file)
        opened = _OPEN(file, mode, *others, **more)
        return opened if self._path(opened.fileno()) is None else _File(opened, self)


_OPEN = io.open


def _writes(others: tuple[Any, ...], more: dict[str, Any]) -> bool:
    mode = more.get("mode", others[0] if others else more.get("flags", "r"))
    if isinstance(mode, int):
        return bool(mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return bool(set(mode) & set("wax+"))


class _File:
    """A file that asks the disk before it writes; what is buffered may fail at its end."""

    def __init__(self, file: Any, disk: FailingDisk) -> None:
        self._file, self._disk, self._buffered = file, disk, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def write(self, content: Any) -> int:
        self._disk.touch("write", self._file.fileno())
        self._buffered = True
        return int(self._file.write(content))

    def flush(self) -> None:
        self._disk.touch("flush", self._file.fileno())
        self._buffered = False
        self._file.flush()

    def close(self) -> None:
        try:
            if self._buffered and not self._file.closed:
                self._disk.touch("close", self._file.fileno())
        finally:
            self._file.close()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """A disk that holds the test's folder."""
    return FailingDisk(tmp_path, monkeypatch)


ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


def every_failure(
    disk: FailingDisk, act: Callable[[], object], folder: Path, *, once_a_file: bool = False
) -> Iterator[tuple[str, str, int]]:
    """Let the calls fail in turn, in a folder as it was, and check what stands there afterwards.

    Of calls that repeat, some fail. All later ones fail, too, but for a single EIO while bytes are
    written. No temporary file is then left, and every old file holds what it held, or what the act
    makes of it.

    Args:
        act: does the same whenever it is called; a command's result must then say 0.
        folder: what it changes.
        once_a_file: one call for each file, another for the next file, instead of all. The system
            names no file in its error.

    Yields:
        The call, the file's final name and the error's number, while the call fails: do ``act()``
        there.
    """
    before = _contents(folder)
    with disk.watch():
        result: Any = act()
    assert getattr(result, "exit_code", 0) == 0, result.output
    after, calls = _contents(folder), list(disk.calls)
    files = [disk.targets.get(path, path) for _, path in calls]
    kinds = [(call, file) for (call, _), file in zip(calls, files, strict=True)]
    numbers = [
        n for n in range(len(kinds)) if n % 50 == 25 or kinds[n - 1 : n + 2] != [kinds[n]] * 3
    ]
    if once_a_file:
        rows = [[n for n in numbers if files[n] == name] for name in dict.fromkeys(files)]
        rows = [[n for n in row if kinds[n][0] not in _NAMED] or row for row in rows]
        numbers = [row[index % len(row)] for index, row in enumerate(rows)]
    assert numbers
    for number in numbers:
        for code in ERRNOS if not once_a_file else (ERRNOS[number % 2],):
            _put_back(folder, before)
            once = code == errno.EIO and calls[number][0] == "write"
            with disk.watch(number, number + 1 if once else sys.maxsize, code):
                yield calls[number][0], files[number], code
            assert len(disk.calls) > number, f"{calls[number]} was never reached"
            for name, content in _contents(folder).items():
                assert not Path(name).name.startswith((".p2p-", "tmp")), name
                known = content in (before.get(name), after.get(name))
                assert known or name not in before, f"{name} is neither old nor new"
    _put_back(folder, before)


def _contents(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def _put_back(folder: Path, contents: dict[str, bytes | None]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if str(path) not in contents:
            path.rmdir() if path.is_dir() else path.unlink()
    for name, content in contents.items():
        path = Path(name)
        if content is None:
            path.mkdir(exist_ok=True)
        elif not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
