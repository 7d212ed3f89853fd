"""A camera as a source, through OpenCV. Not tested on hardware."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from p2p_runtime.errors import SourceLostError
from p2p_runtime.video.frames import FrameTask

from .decode import believable_fps

__all__ = ["CameraCapture"]


class CameraCapture:
    """An open camera; see :class:`p2p_runtime.video.live.Capture`."""

    frame_count: int | None = None
    finite: bool = False
    frames_lost: int = 0

    def __init__(self, index: int) -> None:
        """Open the camera of this number, from 0, with its own settings.

        Raises:
            SourceLostError: it is not there, or in use; the message lists what is there.
        """
        self._name = f"camera {index}"
        level = cv2.utils.logging.getLogLevel()
        try:
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # we raise
            backend = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
            self._camera = cv2.VideoCapture(index, backend)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._camera.isOpened():
            raise SourceLostError(
                f"{self._name} cannot be opened: it is not there, or in use; {_list_cameras()}"
            )
        self._camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # frames that wait in the driver are old
        self.fps = believable_fps(self._name, self._camera.get(cv2.CAP_PROP_FPS))

    def read(self) -> FrameTask:
        """Wait for the next frame."""
        grabbed = self._camera.grab()
        start_s = time.perf_counter()
        done, image = self._camera.retrieve() if grabbed else (False, None)
        if not done or image is None:
            raise SourceLostError(f"{self._name} delivers no frame")
        decode_ms = (time.perf_counter() - start_s) * 1e3
        return FrameTask(picture=np.asarray(image, np.uint8), times_ms={"decode": decode_ms})

    def close(self) -> None:
        """Release the camera."""
        self._camera.release()


def _list_cameras() -> str:
    cameras = sorted(path.name for path in Path("/dev").glob("video*"))
    return f"there are {', '.join(cameras)} in /dev" if cameras else "this machine has no camera"
