"""A run for TensorBoard: each line of its log is an event."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import OutputError
from p2p_runtime.files import reason

__all__ = ["Board"]


class Board:
    """A file of events, written by :meth:`flush` alone.

    PyTorch's writer has a thread, where the error of a full disk becomes a traceback; here it is an
    OutputError. What other files show of steps after ``first_step``, of lost work, is hidden.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._path = folder / f"events.out.tfevents.{time.time():017.6f}"
        self._events = io.BytesIO()
        start = SessionLog(status=SessionLog.START)
        self._add(step=first_step + 1, file_version="brain.Event:2")
        self._add(step=first_step + 1, session_log=start)
        self.flush()

    def add(self, step: int, values: dict[str, float], grid: NDArray[np.uint8]) -> None:
        """Add the values of a step, by tag, and a sample grid (H, W, 3) uint8 BGR."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        shown = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        png = cv2.imencode(".png", grid)[1].tobytes()
        image = Summary.Image(
            height=grid.shape[0], width=grid.shape[1], colorspace=3, encoded_image_string=png
        )
        shown.append(Summary.Value(tag="samples", image=image))
        self._add(step=step, summary=Summary(value=shown))

    def flush(self) -> None:
        """Write what was added."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(self._events.getvalue())
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {reason(error)}") from error
        self._events = io.BytesIO()

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        event = Event(wall_time=time.time(), **content)
        RecordWriter(self._events).write(event.SerializeToString())
