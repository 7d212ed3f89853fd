"""Atomic files: a crash, a full disk or a second writer never leaves half of one.

The bytes are written to a temporary name in the same folder, flushed to the disk, and renamed; the
folder is flushed too, so the name survives a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .errors import OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "atomic_file", "best_effort", "check_writable_folder", "exclusive_lock", "protected", "reason",
    "refuse_protected", "rename", "scratch_folder", "sha256_of_file", "write_bytes", "write_json",
    "write_picture", "write_text",
]  # fmt: skip

_UNSUPPORTED = {
    errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK,
}  # fmt: skip
"""What file systems without POSIX rights answer: CIFS, FUSE, NFS, Lustre."""

_log = logging.getLogger(__name__)

_protected: dict[tuple[int, int], str] = {}
"""Files that no writer may replace, by device and inode, with what they are."""

_warned: set[str] = set()


@contextlib.contextmanager
def protected(paths: Iterable[Path], what: str) -> Iterator[None]:
    """Let no writer replace these files during the block, by whatever name or link it comes.

    ``what`` they are stands in the error, for example ``the model``. Paths that do not exist are
    left out.
    """
    found = {identity: what for path in paths if (identity := _identity(path)) is not None}
    new = {identity: what for identity, what in found.items() if identity not in _protected}
    _protected.update(new)
    try:
        yield
    finally:
        for identity in new:
            del _protected[identity]


def refuse_protected(path: Path) -> None:
    """Raise an OutputError if a file is one that :func:`protected` holds."""
    identity = _identity(path) if _protected else None
    if identity in _protected:
        raise OutputError(f"{path} is {_protected[identity]}; name another output")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def best_effort(path: Path, what: str, call: Callable[[], object]) -> None:
    """Do what not every file system can; where it cannot, warn once, and go on.

    The warning says that ``path`` cannot do ``what``, for example ``be locked``. An OSError that
    means anything else is raised.
    """
    try:
        call()
    except BlockingIOError:  # a lock that another process holds
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        if what not in _warned:
            _warned.add(what)
            _log.warning("%s: files here cannot %s (%s)", path.parent, what, reason(error))


@contextlib.contextmanager
def atomic_file(path: Path, check: Callable[[Path], object] | None = None) -> Iterator[IO[bytes]]:
    """Yield a binary file that appears at ``path`` when the block ends without an error.

    ``check`` is called with the complete file's temporary name; if it raises, nothing appears.

    Raises:
        OutputError: the folder or the file cannot be written, or it is one that
            :func:`protected` holds; a file at ``path`` is unchanged.
    """
    temporary: Path | None = None
    refuse_protected(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".p2p-", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        mask = os.umask(0)
        os.umask(mask)
        best_effort(path, "have rights of their own", partial(temporary.chmod, 0o666 & ~mask))
        rename(temporary, path)
        temporary = None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def rename(temporary: Path, path: Path) -> None:
    """Give a complete file, which was flushed, its name, for good; an OSError if that fails."""
    temporary.replace(path)
    best_effort(path, "be made safe from a power cut", partial(_flush_folder, path.parent))


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Write ``content`` to ``path`` as :func:`atomic_file` does."""
    with atomic_file(path, check) as file:
        file.write(content)


def write_picture(path: Path, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 BGR as :func:`atomic_file` does; the suffix selects the format.

    Raises:
        OutputError: it cannot be written, or the suffix is unknown.
    """
    import cv2  # only needed here

    # OpenCV crashes on text that is not UTF-8, which a name may be.
    if not (path.suffix.isascii() and cv2.haveImageWriter(f"x{path.suffix}")):
        suffix = path.suffix or "a name without suffix"
        raise OutputError(f"cannot write {path}: {suffix} is no kind of picture; try .png or .jpg")
    encoded, content = cv2.imencode(path.suffix, image)
    if not encoded:
        raise OutputError(f"cannot write {path}: OpenCV could not encode it")
    write_bytes(path, content.tobytes())


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to ``path`` as :func:`atomic_file` does."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write plain JSON values, indented, to ``path`` as :func:`atomic_file` does."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def check_writable_folder(folder: Path, *, create: bool = True) -> None:
    """Raise an OutputError unless files can be written in a folder, which is created.

    Without ``create``, the nearest existing parent is tested.
    """
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OutputError(f"cannot write in {folder}: {reason(error)}") from error


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder inside ``parent``, which is created.

    Raises:
        OutputError: it cannot be made, or a file in it cannot be written during the block.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".p2p-", dir=parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(f"cannot write in {parent}: {reason(error)}") from error


@contextlib.contextmanager
def exclusive_lock(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file ``path`` during the block; the system frees it if the process dies.

    Raises:
        OutputError: another process holds it (the message is ``busy``), or it cannot be created.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    with file:
        try:
            best_effort(
                path, "be locked", partial(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            )
        except BlockingIOError as error:
            raise OutputError(busy) from error
        yield


def reason(error: Exception) -> str:
    """Return an error's message without the paths and URLs that Python and FFmpeg add."""
    return getattr(error, "strerror", None) or str(error)


def sha256_of_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
