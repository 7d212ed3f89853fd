"""Locks on output files and folders, and the checks that sinks share."""

from __future__ import annotations

import fcntl
import os
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import SinkError
from p2p_runtime.files import best_effort, reason, refuse_protected

__all__ = ["lock", "open_locked", "refuse_source", "require_shape"]


def open_locked(path: Path, source: Path | None, overwrite: bool) -> int:
    """Open and lock an output file; return the descriptor, which holds the lock.

    Raises:
        OutputError: it is the input, cannot be written, is locked, or exists.
    """
    refuse_source(path, source)
    if (existed := path.exists()) and not path.is_file():
        raise SinkError(f"cannot write {path}: it is not a regular file")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {reason(error)}") from error
    lock(descriptor, path)
    if existed and not overwrite and os.fstat(descriptor).st_size > 0:
        os.close(descriptor)
        raise SinkError(f"{path} exists; give --overwrite to replace it")
    return descriptor


def lock(descriptor: int, path: Path) -> int:
    """Lock an open file or folder and return its descriptor; closing it frees the lock.

    If another process holds the lock, the descriptor is closed and a SinkError raised.
    """
    try:
        best_effort(
            path, "be locked", partial(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        )
    except BlockingIOError as error:
        os.close(descriptor)
        raise SinkError(f"{path} is being written by another process") from error
    return descriptor


def refuse_source(output: Path, source: Path | None) -> None:
    """Raise an OutputError if the output is the input, or a file that is protected, by any name."""
    refuse_protected(output)
    if source is not None and output.exists() and source.exists() and output.samefile(source):
        raise SinkError(f"{output} is the input; name another output")


def require_shape(image: NDArray[np.uint8], shape: tuple[int, int, int], name: str) -> None:
    """Raise a SinkError unless an image is uint8 and has the shape (H, W, 3) of a sink's frames."""
    if image.shape != shape or image.dtype != np.uint8:
        raise SinkError(
            f"{name} takes frames of {shape} uint8, this one is {image.shape} {image.dtype}"
        )
