"""A frame between two threads: taken in order, worked on wherever there is time.

Fitting a frame is most of the work outside the engine, and frames do not need each other for it.
Only what comes after does: the vote of the last label maps, and whether an input is the last one
again. So each frame knows the one before it, and whoever comes first does what is still missing.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.labels.colorspace import ColorspaceMismatch
    from p2p_runtime.labels.yuv import Picture

    from .preprocess import Preprocessor
    from .reuse import Answer, Reuse

__all__ = ["Begun", "Settled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A frame that was fitted and compared with those before it.

    Attributes:
        answer: its input and, sooner or later, that input's image.
        reused: whether an earlier frame has the same input.
        fit_ms: what that took, in milliseconds, without waiting for the frames before it.
    """

    answer: Answer
    reused: bool
    fit_ms: float


class Begun:
    """A frame that was taken in its order; :meth:`settle` may be called in any thread.

    Attributes:
        frame: (H, W, 3) uint8 BGR, or planes.
        drift: how the colours of its stream were off as a whole when it came.
    """

    __slots__ = ("_fitted", "_fitter", "_lock", "_previous", "_reuse", "_settled", "drift", "frame")

    def __init__(
        self,
        frame: Picture,
        drift: ColorspaceMismatch,
        fitter: Preprocessor,
        reuse: Reuse,
        previous: Begun | None,
    ) -> None:
        self.frame = frame
        self.drift = drift
        self._fitter, self._reuse, self._previous = fitter, reuse, previous
        self._lock = threading.Lock()
        self._fitted: tuple[NDArray[np.uint8], float] | None = None
        self._settled: Settled | None = None

    def prepare(self) -> None:
        """Fit the frame, which needs no other; :meth:`settle` then has less to do."""
        with self._lock:
            if self._settled is None:
                self._fit()

    def settle(self) -> Settled:
        """Fit the frame, then compare it with those before it, which are settled first."""
        self.prepare()
        for earlier in self._unsettled_before():
            earlier._settle_next()
        return self._settle_next()

    def _fit(self) -> tuple[NDArray[np.uint8], float]:
        if self._fitted is None:
            start_s = time.perf_counter()
            fitted = self._fitter.fit(self.frame, self.drift)
            self._fitted = fitted, (time.perf_counter() - start_s) * 1e3
        return self._fitted

    def _unsettled_before(self) -> list[Begun]:
        """Return the frames before this one that nobody has settled, the oldest first."""
        chain: list[Begun] = []
        earlier = self._previous
        while earlier is not None and earlier._settled is None:
            chain.append(earlier)
            earlier = earlier._previous
        return chain[::-1]

    def _settle_next(self) -> Settled:
        """Settle this frame, unless it is; the one before it must be."""
        with self._lock:
            if self._settled is None:
                fitted, fit_ms = self._fit()
                start_s = time.perf_counter()
                answer, reused = self._reuse.answer(self._fitter.elect(fitted))
                fit_ms += (time.perf_counter() - start_s) * 1e3
                self._settled = Settled(answer=answer, reused=reused, fit_ms=fit_ms)
                self._previous = self._fitted = None
            return self._settled
