"""Figures drawn onto the frames, for people who watch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Overlay"]

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_MEMORY = 0.9
"""Share of the past in the running mean of the frame rate: it covers about ten frames."""


class Overlay:
    """Draws frames a second and latency into the upper left corner."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._interval_s: float | None = None

    def __call__(self, image: NDArray[np.uint8], decoded_s: float) -> NDArray[np.uint8]:
        """Return a copy with the figures.

        Args:
            image: (H, W, 3) uint8 BGR; it is left as it is.
            decoded_s: ``time.perf_counter()`` when the frame's pixels were there.
        """
        now_s = time.perf_counter()
        drawn, text = image.copy(), self._text(now_s, (now_s - decoded_s) * 1e3)
        scale = max(0.35, image.shape[0] / 720)
        place = (round(12 * scale), round(30 * scale))
        stroke_px = max(1, round(scale))
        for colour, width_px in ((_BLACK, stroke_px + 2), (_WHITE, stroke_px)):  # on any picture
            cv2.putText(
                drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width_px, cv2.LINE_AA
            )
        return drawn

    def _text(self, now_s: float, latency_ms: float) -> str:
        if self._last_s is not None:
            interval_s = now_s - self._last_s
            before_s = interval_s if self._interval_s is None else self._interval_s
            self._interval_s = _MEMORY * before_s + (1 - _MEMORY) * interval_s
        self._last_s = now_s
        rate = f"{1 / self._interval_s:.1f}" if self._interval_s else "--"
        return f"{rate} frames/s  {latency_ms:.0f} ms"
