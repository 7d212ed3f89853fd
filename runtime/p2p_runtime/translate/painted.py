"""What a run paints: the shares of the classes in its first frames, and whether they can be."""

from __future__ import annotations

import logging
import threading

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.labels.ids import Shares
from p2p_runtime.labels.palette import Palette

__all__ = ["PaintedShares"]

FRAMES = 5
"""Number of frames that are counted."""

SHOWN = 6
"""Number of classes that the line names."""

NEARLY_ALL = 0.98
"""Share of one class in every one of these frames that no street has."""

FAR = 0.6
"""Distance (0-1) from the training data's shares that no street has: of 250 validation maps of
Cityscapes, the farthest is at 0.45, half of them within 0.23."""

_log = logging.getLogger(__name__)


class PaintedShares:
    """Counts the classes of the first frames, and says in one line what they are.

    ``trained`` are the shares of the classes in the training data; None if they are not known.

    Attributes:
        warning: why this is likely not what the model was trained on, or None.
    """

    def __init__(self, palette: Palette, trained: Shares | None) -> None:
        self._palette = palette
        self._trained = None if trained is None else np.mean(trained, axis=0)
        self._frames: list[NDArray[np.float64]] = []
        self._lock = threading.Lock()
        self._said = False
        self.warning: str | None = None

    def add(self, classes: NDArray[np.uint8]) -> None:
        """Count a frame's class indices (H, W), from any thread; after a few, do nothing."""
        if len(self._frames) >= FRAMES:
            return
        counts = np.bincount(classes.ravel(), minlength=256)[: len(self._palette.classes)]
        with self._lock:
            if len(self._frames) < FRAMES:
                self._frames.append(counts / classes.size)
                if len(self._frames) == FRAMES:
                    self.finish()

    def finish(self) -> None:
        """Say what was painted, if that was not yet said and there is something to say."""
        if self._said or not self._frames:
            return
        self._said = True
        shares = np.mean(self._frames, axis=0)
        order = np.argsort(-shares, kind="stable")[:SHOWN]
        names = self._palette.classes
        seen = [f"{names[place]} {shares[place]:.0%}" for place in order if shares[place] >= 0.005]
        _log.info("painted: %s", ", ".join(seen) or "nothing that has a class")
        self.warning = self._why_not(shares, names[order[0]])
        if self.warning is not None:
            _log.warning("%s", self.warning)

    def _why_not(self, shares: NDArray[np.float64], largest: str) -> str | None:
        if all(frame.max() > NEARLY_ALL for frame in self._frames):
            return (
                f"nearly everything is {largest}; are these the labels and the palette "
                "that the model was trained on?"
            )
        if self._trained is None:
            return None
        if np.abs(shares - self._trained).sum() / 2 <= FAR:
            return None
        order = np.argsort(-self._trained, kind="stable")[:3]
        usual = ", ".join(f"{self._palette.classes[i]} {self._trained[i]:.0%}" for i in order)
        return (
            f"the training data look different ({usual}, ...); are these labels of the same kind?"
        )

    def to_json(self) -> dict[str, float]:
        """Return the mean share of each class that was painted, by its name."""
        if not self._frames:
            return {}
        shares = np.mean(self._frames, axis=0).round(4)
        pairs = zip(self._palette.classes, shares.tolist(), strict=True)
        return {name: share for name, share in pairs if share}
