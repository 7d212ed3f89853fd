"""A folder of PNGs as a sink."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from p2p_runtime.errors import OutputError, SinkError
from p2p_runtime.files import check_writable_folder, reason, write_bytes
from p2p_runtime.video.frames import FrameSink, FrameTask

from .output_lock import lock, refuse_source, require_shape

__all__ = ["ImageFolderSink"]


class ImageFolderSink(FrameSink):
    """A folder of PNGs, named like the pictures they come from; each is complete or absent."""

    def __init__(
        self, folder: Path, *, source: Path | None = None, overwrite: bool = False
    ) -> None:
        """Lock the folder.

        Raises:
            SinkError: it is the input, is not empty, cannot be written, or is being written.
        """
        self._folder = folder
        self._names: set[str] = set()
        refuse_source(folder, source)
        try:
            if folder.exists() and not folder.is_dir():
                raise SinkError(f"cannot write in {folder}: it is not a folder")
            check_writable_folder(folder)
            self._lock = lock(os.open(folder, os.O_RDONLY), folder)
            if not overwrite and any(folder.iterdir()):
                os.close(self._lock)
                raise SinkError(f"{folder} is not empty; give --overwrite to write into it")
        except OutputError as error:
            raise SinkError(str(error)) from error
        except OSError as error:
            raise SinkError(f"cannot write in {folder}: {reason(error)}") from error

    def write(self, task: FrameTask) -> None:
        """Write one PNG of any size."""
        image = task.image
        require_shape(image, (*image.shape[:2], 3), str(self._folder))
        name = f"{task.name or f'{task.index:06d}'}.png"
        done, content = cv2.imencode(".png", image)
        if not done:
            raise SinkError(f"OpenCV cannot encode {name}")
        try:
            write_bytes(self._folder / name, content.tobytes())
        except OutputError as error:
            raise SinkError(f"{error}; {len(self._names)} pictures were written") from error
        self._names.add(name)

    def close(self) -> None:
        """Check that every picture is there."""
        self.abort()
        missing = [name for name in self._names if not (self._folder / name).is_file()]
        if missing:
            raise SinkError(f"{self._folder} lacks {len(missing)} pictures that were written to it")

    def abort(self) -> None:
        """Unlock the folder; its pictures are complete."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
