"""A camera whose plug is pulled after three frames, again and again.

``python fake_camera.py INPUT ...`` is ``p2p-run`` with it.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from toy_runtime import label_frame


class FakeCamera:
    """Stands in for cv2.VideoCapture: the label maps 2, 1 and 0, then nothing."""

    def __init__(self, index: int, backend: int) -> None:
        self.left = 3

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return True

    def set(self, key: int, value: float) -> bool:
        return True

    def get(self, key: int) -> float:
        return 0.0 if key == cv2.CAP_PROP_FPS else 1.0

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, label_frame(self.left)

    def release(self) -> None:
        """Nothing to release."""


if __name__ == "__main__":
    from p2p_runtime.cli import main

    cv2.VideoCapture = FakeCamera  # type: ignore[assignment,misc]  # its stand-in
    sys.argv[0] = "p2p-run"
    main()
