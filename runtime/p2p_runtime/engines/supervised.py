"""An engine that is watched: what hangs is interrupted, what fails is opened again, a few times.

A driver that hiccups after days should cost a frame's time, not the stream; a model that fails on
every frame should end the run, not spin.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from p2p_runtime.errors import EngineError, P2PError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .base import Engine

__all__ = ["SupervisedEngine", "Watchdog"]

HANG_S = 30.0
"""Far above the slowest frame that makes sense; starting up is not watched."""

RESTARTS, WITHIN_S = 5, 60.0

_log = logging.getLogger(__name__)


class SupervisedEngine:
    """Opens an engine again when it fails; see :class:`p2p_runtime.engines.base.Engine`.

    Args:
        engine: open and checked.
        reopen: opens and checks another one in its place.
        hang_s: seconds after which an inference counts as hanging.
        stuck: called, in the watchdog's thread, when one hangs for as long again after it was
            interrupted, or cannot be interrupted: nothing in this process can end it.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        reopen: Callable[[], Engine],
        *,
        hang_s: float = HANG_S,
        stuck: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._reopen, self._clock = engine, reopen, clock
        self._lock = threading.Lock()
        self._restarts: deque[float] = deque(maxlen=RESTARTS)
        self._watchdog = Watchdog(self._interrupt, stuck or (lambda: None), hang_s)
        self._closed = False
        self.restarts = 0

    @property
    def device(self) -> str:
        """That of the engine."""
        return self._engine.device

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR into the same shape and type, if need be again.

        Raises:
            EngineError: it failed, and was opened again as often as makes sense.
        """
        while True:
            engine = self._engine
            try:
                with self._watchdog.watch():
                    return engine.infer(frames)
            except EngineError as error:
                self._replace(engine, error)

    def close(self) -> None:
        """Free the engine and end the watchdog."""
        with self._lock:
            self._closed = True
            self._watchdog.close()
            self._engine.close()

    def _interrupt(self) -> None:
        interrupt = getattr(self._engine, "interrupt", None)
        if interrupt is not None:
            interrupt()

    def _replace(self, failed: Engine, error: EngineError) -> None:
        """Open another engine, unless another lane has done so, or it was enough."""
        with self._lock:
            if self._engine is not failed:
                return
            now_s = self._clock()
            if self._closed:
                raise error
            if len(self._restarts) == RESTARTS and now_s - self._restarts[0] < WITHIN_S:
                raise EngineError(
                    f"{error} (after {RESTARTS} restarts in {WITHIN_S:.0f} s)"
                ) from error
            self._restarts.append(now_s)
            self.restarts += 1
            _log.warning("%s; opening the model again", error)
            failed.close()
            try:
                self._engine = self._reopen()
            except P2PError as reason:
                raise EngineError(f"{error}; and it cannot be opened again: {reason}") from reason


class Watchdog:
    """Looks, in a thread of its own, whether what it watches takes too long.

    Args:
        interrupt: called once for what hangs.
        stuck: called when it hangs on for as long again.
        limit_s: how long something may take.
    """

    def __init__(
        self, interrupt: Callable[[], None], stuck: Callable[[], None], limit_s: float
    ) -> None:
        self._interrupt, self._stuck, self._limit_s = interrupt, stuck, limit_s
        self._since: dict[int, float] = {}
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the block; several threads may have one each."""
        if self._thread is None:
            self._start()
        key = threading.get_ident()
        self._since[key] = time.monotonic()
        try:
            yield
        finally:
            self._since.pop(key, None)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
                thread.start()  # may fail for want of memory; there is then nothing to end
                self._thread = thread

    def _look(self) -> None:
        told: set[float] = set()
        while not self._ended.wait(self._limit_s / 4):
            now_s = time.monotonic()
            running = set(self._since.copy().values())
            told &= running
            hanging = {since for since in running if now_s - since > self._limit_s}
            if hanging - told:
                _log.error("an inference takes longer than %g s; interrupting it", self._limit_s)
                told |= hanging
                self._interrupt()
            elif any(now_s - since > 2 * self._limit_s for since in hanging):
                self._stuck()
