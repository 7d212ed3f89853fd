"""An engine that is watched: a hanging inference is interrupted, a failed engine opened again."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import BundleError, EngineError, P2PError
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.golden import GoldenFrame

from . import open_engine
from .base import Engine

__all__ = ["RESTARTS", "SupervisedEngine", "open_supervised"]

HANG_S = 30.0
"""Seconds after which an inference counts as hanging, far above the slowest sensible frame."""

RESTARTS, WITHIN_S = 5, 60.0
"""Maximum number of restarts within so many seconds."""

_log = logging.getLogger(__name__)


def open_supervised(
    bundle: ModelBundle,
    device: str,
    *,
    threads: int | None = None,
    allow_spinning: bool = True,
    verify: bool = True,
    on_hang: Callable[[], None] | None = None,
) -> SupervisedEngine:
    """Open a bundle on a device, and supervise it.

    Args:
        bundle, device, threads, allow_spinning: see :func:`p2p_runtime.engines.open_engine`.
        verify: replay the golden frame, now and after each restart. This is the warm-up, too.
        on_hang: see :class:`SupervisedEngine`.

    Raises:
        DeviceUnavailableError, BundleError: as :func:`p2p_runtime.engines.open_engine`; also a
            device that does not compute what the exporting machine did.
    """

    def opened() -> Engine:
        engine = open_engine(bundle, device, threads, allow_spinning)
        if verify:
            _replay_golden(bundle, engine)
        return engine

    return SupervisedEngine(opened(), opened, on_hang=on_hang)


class SupervisedEngine:
    """Opens an engine again when it fails, but ends a run whose model fails on every frame.

    Args:
        engine, reopen: an open and checked engine, and what opens and checks a replacement.
        hang_s: seconds after which an inference counts as hanging.
        on_hang: called, in the watchdog's thread, when an inference hangs for as long again after
            it was interrupted: nothing in this process can end it.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        reopen: Callable[[], Engine],
        *,
        hang_s: float = HANG_S,
        on_hang: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._reopen, self._clock = engine, reopen, clock
        self._lock = threading.Lock()
        self._restarts_s: deque[float] = deque(maxlen=RESTARTS)
        self._watchdog = _Watchdog(self.interrupt, on_hang or (lambda: None), hang_s)
        self._closed = False
        self.restarts = 0

    @property
    def device(self) -> str:
        """The engine's device."""
        return self._engine.device

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, again after each restart that is allowed."""
        while True:
            engine = self._engine
            try:
                with self._watchdog.watch():
                    return engine.infer(frames)
            except EngineError as error:
                self._replace(engine, error)

    def interrupt(self) -> None:
        """Interrupt the engine; the inferences it was at are repeated by its replacement."""
        self._engine.interrupt()

    def close(self) -> None:
        """Free the engine and end the watchdog."""
        with self._lock:
            self._closed = True
            self._watchdog.close()
            self._engine.close()

    def _replace(self, failed: Engine, error: EngineError) -> None:
        """Open another engine, unless another thread has done so, or the limit is reached."""
        with self._lock:
            if self._engine is not failed:
                return
            now_s = self._clock()
            if self._closed:
                raise error
            if len(self._restarts_s) == RESTARTS and now_s - self._restarts_s[0] < WITHIN_S:
                raise EngineError(
                    f"{error} (after {RESTARTS} restarts in {WITHIN_S:.0f} s)"
                ) from error
            self._restarts_s.append(now_s)
            self.restarts += 1
            _log.warning("%s; opening the model again", error)
            failed.close()
            try:
                self._engine = self._reopen()
            except P2PError as reason:
                raise EngineError(f"{error}; and it cannot be opened again: {reason}") from reason


class _Watchdog:
    """Interrupts a watched block over the limit, and calls ``on_hang`` at twice the limit."""

    def __init__(
        self, interrupt: Callable[[], None], on_hang: Callable[[], None], limit_s: float
    ) -> None:
        self._interrupt, self._on_hang, self._limit_s = interrupt, on_hang, limit_s
        self._since: dict[int, float] = {}
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the block; each thread may have one."""
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
                thread = threading.Thread(target=self._check, name="watchdog", daemon=True)
                thread.start()  # may fail for want of memory; there is then nothing to end
                self._thread = thread

    def _check(self) -> None:
        interrupted: set[float] = set()  # start times
        while not self._ended.wait(self._limit_s / 4):
            now_s = time.monotonic()
            running = set(self._since.copy().values())
            interrupted &= running
            hanging = {since for since in running if now_s - since > self._limit_s}
            if hanging - interrupted:
                _log.error("an inference takes longer than %g s; interrupting it", self._limit_s)
                interrupted |= hanging
                self._interrupt()
            elif any(now_s - since > 2 * self._limit_s for since in hanging):
                self._on_hang()


def _replay_golden(bundle: ModelBundle, engine: Engine) -> None:
    """Compare what this device makes of the golden frame with what the exporter's made of it."""
    golden = bundle.info.golden
    frame = GoldenFrame.draw(bundle.contract, golden.seed)
    psnr_db = golden.psnr_db(engine.infer(frame[np.newaxis])[0])
    # Written so that a NaN floor or result fails, too.
    if not psnr_db >= golden.min_psnr_db:
        engine.close()
        raise BundleError(
            f"{bundle.path} does not compute on {engine.device} what was exported: its golden "
            f"frame came out at {psnr_db:.1f} dB, at least {golden.min_psnr_db:.1f} are needed"
        )
