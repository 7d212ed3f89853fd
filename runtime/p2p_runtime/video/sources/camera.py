"""A camera as a source, through OpenCV. Not tested on hardware."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from p2p_runtime.errors import SourceLostError
from p2p_runtime.video.live import Captured

from .decode import believable_fps

__all__ = ["CameraCapture"]


class CameraCapture:
    """An open camera; see :class:`p2p_runtime.video.live.Capture`."""

    frame_count: int | None = None
    finite: bool = False
    frames_lost: int = 0

    def __init__(self, index: int) -> None:
        """Open a camera with its own settings.

        Args:
            index: its number, from 0.

        Raises:
            SourceLostError: it is not there, or in use; the message lists what is there.
        """
        self._name = f"camera {index}"
        level = cv2.utils.logging.getLogLevel()
        try:
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # we say it better
            backend = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
            self._camera = cv2.VideoCapture(index, backend)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._camera.isOpened():
            raise SourceLostError(
                f"{self._name} cannot be opened: it is not there, or in use; {_there_are()}"
            )
        self._camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # what waits in the driver is old already
        self.fps = believable_fps(self._name, self._camera.get(cv2.CAP_PROP_FPS))

    def read(self) -> Captured:
        """Wait for the next picture.

        Raises:
            SourceLostError: the camera gave none.
        """
        grabbed = self._camera.grab()
        start_s = time.perf_counter()
        done, image = self._camera.retrieve() if grabbed else (False, None)
        if not done or image is None:
            raise SourceLostError(f"{self._name} gave no frame")
        return Captured(np.asarray(image, np.uint8), (time.perf_counter() - start_s) * 1e3)

    def close(self) -> None:
        """Let go of the camera."""
        self._camera.release()


def _there_are() -> str:
    cameras = sorted(path.name for path in Path("/dev").glob("video*"))
    return f"there are {', '.join(cameras)} in /dev" if cameras else "this machine has no camera"
