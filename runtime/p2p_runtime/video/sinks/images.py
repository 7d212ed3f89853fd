"""Pictures as sinks: a folder of PNGs, and pictures of any place."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from p2p_runtime.errors import OutputError, SinkError, count_of
from p2p_runtime.files import check_writable_folder, reason, write_picture
from p2p_runtime.video.frames import FrameSink, FrameTask

from .output_lock import lock, refuse_source, require_shape

__all__ = ["ImageFolderSink", "PictureSink"]

_log = logging.getLogger(__name__)


class ImageFolderSink(FrameSink):
    """A folder of PNGs, named like the pictures they come from; each is complete or absent.

    With ``resume``, pictures that an earlier run wrote are kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        source: Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        """Lock the folder, or raise an OutputError: it is the input, not empty or not writable."""
        self._resume = resume
        self._folder = folder
        self._names: set[str] = set()
        refuse_source(folder, source)
        try:
            if folder.exists() and not folder.is_dir():
                raise SinkError(f"cannot write in {folder}: it is not a folder")
            check_writable_folder(folder)
            self._lock = lock(os.open(folder, os.O_RDONLY), folder)
            if not (overwrite or resume) and any(folder.iterdir()):
                os.close(self._lock)
                raise SinkError(
                    f"{folder} is not empty; give --resume to go on there, or --overwrite"
                )
        except OSError as error:
            raise SinkError(f"cannot write in {folder}: {reason(error)}") from error

    def write(self, task: FrameTask) -> None:
        """Write one PNG of any size."""
        image = task.image
        require_shape(image, (*image.shape[:2], 3), str(self._folder))
        name = f"{task.name or f'{task.index:06d}'}.png"
        try:
            write_picture(self._folder / name, image)
        except OutputError as error:
            raise SinkError(f"{error}; {len(self._names)} pictures were written") from error
        self._names.add(name)

    def close(self) -> None:
        """Check that every picture is there."""
        self.abort()
        listed = list(self._folder.iterdir())
        missing = self._names - {path.name for path in listed}
        if missing:
            raise SinkError(f"{self._folder} lacks {count_of(len(missing), 'picture')} of this run")
        others = sum(path.suffix == ".png" and path.name not in self._names for path in listed)
        if others and not self._resume:
            _log.warning("%s holds %s of other runs", self._folder, count_of(others, "picture"))

    def abort(self) -> None:
        """Unlock the folder; its pictures are complete."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


class PictureSink(FrameSink):
    """A picture for each name of a task, in the format of its suffix."""

    def __init__(
        self, places: Mapping[str, Path], *, source: Path | None = None, overwrite: bool = False
    ) -> None:
        """Check the places; an OutputError if one is the input, exists, or cannot be written."""
        self._places = places
        for path in places.values():
            refuse_source(path, source)
            if path.exists() and not overwrite:
                raise SinkError(f"{path} exists; give --overwrite to replace it")
        for folder in {path.parent for path in places.values()}:
            check_writable_folder(folder)

    def write(self, task: FrameTask) -> None:
        """Write a picture."""
        path = self._places[task.name]
        require_shape(task.image, (*task.image.shape[:2], 3), str(path))
        write_picture(path, task.image)
