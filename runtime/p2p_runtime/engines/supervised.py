"""An engine that is watched: a hanging inference is interrupted, a failed engine opened again."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import EngineError, P2PError, ServerError
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.prefetch import growing_delays_s

from . import open_engine
from .base import Engine, ServerOptions, is_server, replay_golden

__all__ = ["RESTARTS", "SupervisedEngine", "open_supervised"]

HANG_S = 30.0
"""Seconds after which an inference counts as hanging, far above the slowest sensible frame."""

START = 10
"""The golden frame may take so many times as long: libraries set themselves up for it."""

RESTARTS, WITHIN_S = 5, 60.0
"""Maximum number of restarts within so many seconds."""

HANGS = 3
"""Number of inferences that hang, with none between that ends well, after which a run is ended."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 5.0
"""Bounds of the waits between two attempts to reach a server that was lost."""

STOP_S = 1.0
"""Seconds that running inferences have once a run was told to stop, and once interrupted."""

_TICKS = 4
"""How often the watchdog looks within the limit. It counts looks, not seconds: a process that was
suspended has not hung."""

_log = logging.getLogger(__name__)


def open_supervised(
    bundle: ModelBundle,
    device: str,
    *,
    threads: int | None = None,
    allow_spinning: bool = True,
    verify: bool = True,
    server: ServerOptions | None = None,
    on_hang: Callable[[], None] | None = None,
) -> SupervisedEngine:
    """Open a bundle on a device as :func:`p2p_runtime.engines.open_engine` does, and supervise it.

    To ``verify`` it, the golden frame is replayed, now and after each restart. This is the warm-up,
    too. A server is always verified.

    Raises:
        DeviceUnavailableError, BundleError: as :func:`p2p_runtime.engines.open_engine`; also a
            device that does not compute what the exporting machine did.
    """
    server, served = server or ServerOptions(), is_server(device)

    def opened() -> Engine:
        return open_engine(bundle, device, threads, allow_spinning, server)

    def check(engine: Engine) -> None:
        replay_golden(bundle, engine.device, engine.infer)

    return SupervisedEngine(
        opened(), opened, check=check if verify or served else None, on_hang=on_hang,
        hang_s=HANG_S + (2 * server.deadline_s if served else 0),
        reopen_for_s=server.reconnect_for_s if served else 0,
    )  # fmt: skip


class SupervisedEngine:
    """Opens an engine again when it fails, but ends a run whose model fails on every frame.

    Args:
        engine, reopen: an open engine, and what opens a replacement.
        check: raises an error if an open engine computes something else.
        hang_s, reopen_for_s: seconds after which an inference counts as hanging, and for which a
            server that is not there is tried again.
        on_hang: called, in the watchdog's thread, when an inference hangs for as long again after
            it was interrupted: nothing in this process can end it.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        reopen: Callable[[], Engine],
        *,
        check: Callable[[Engine], None] | None = None,
        hang_s: float = HANG_S,
        reopen_for_s: float = 0,
        on_hang: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reopen, self._check, self._clock = reopen, check, clock
        self._on_hang, self._reopen_for_s = on_hang or (lambda: None), reopen_for_s
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._restarts_s: deque[float] = deque(maxlen=RESTARTS)
        self._watchdog = _Watchdog(self._on_hang, hang_s)
        self.restarts = 0
        try:
            self._engine = self._checked(engine)
        except BaseException:
            self._watchdog.close()
            raise

    @property
    def device(self) -> str:
        """The engine's device."""
        return self._engine.device

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, again after each restart that is allowed."""
        while True:
            engine = self._engine
            try:
                with self._watchdog.watch(engine):
                    images = engine.infer(frames)
                self._watchdog.hangs = 0
                return images
            except EngineError as error:
                self._replace(engine, error)

    def interrupt(self) -> None:
        """Interrupt the engine; the inferences it was at are repeated by its replacement."""
        self._engine.interrupt()

    def stop(self, within_s: float = STOP_S) -> None:
        """Open no engine again, and interrupt the inferences that do not end in time.

        If that does not end them either, ``on_hang`` is called.
        """
        self._stopped.set()
        if not self._watchdog.wait_idle(within_s):
            self._watchdog.interrupt_all()
            if not self._watchdog.wait_idle(within_s / 2):
                self._on_hang()

    def close(self) -> None:
        """Free the engine and end the watchdog."""
        self._stopped.set()
        with self._lock:
            self._watchdog.close()
            self._engine.close()

    def _checked(self, engine: Engine) -> Engine:
        """Check an open engine while the watchdog looks; close it if it fails."""
        if self._check is None:
            return engine
        try:
            with self._watchdog.watch(engine, START):
                self._check(engine)
        except BaseException:
            engine.close()
            raise
        return engine

    def _replace(self, failed: Engine, error: EngineError) -> None:
        """Open another engine, unless another thread has done so, or the limit is reached."""
        with self._lock:
            if self._engine is not failed:
                return
            now_s = self._clock()
            if self._stopped.is_set():
                raise error
            if len(self._restarts_s) == RESTARTS and now_s - self._restarts_s[0] < WITHIN_S:
                raise EngineError(
                    f"{error} (after {RESTARTS} restarts in {WITHIN_S:.0f} s)"
                ) from error
            if self._watchdog.hangs >= HANGS:
                raise EngineError(f"{error} (it hung {HANGS} times in a row)") from error
            self._restarts_s.append(now_s)
            self.restarts += 1
            _log.warning("%s; opening the model again", error)
            failed.close()
            try:
                self._engine = self._opened_again()
            except P2PError as reason:
                kind = ServerError if self._reopen_for_s else EngineError
                raise kind(f"{error}; and it cannot be opened again: {reason}") from reason

    def _opened_again(self) -> Engine:
        """Open an engine; a server that is not there is tried again, ever less often."""
        end_s = self._clock() + self._reopen_for_s
        delays_s = growing_delays_s(FIRST_DELAY_S, LONGEST_DELAY_S)
        while True:
            try:
                return self._checked(self._reopen())
            except ServerError:
                delay_s = next(delays_s)
                if self._clock() + delay_s > end_s or self._stopped.wait(delay_s):
                    raise


@dataclass(slots=True)
class _Watched:
    """A running inference: since which look of the watchdog, and after how many it hangs."""

    engine: Engine
    since: int
    limit: int
    interrupted: bool = False


class _Watchdog:
    """Interrupts an engine whose inference is over the limit; at twice the limit calls ``on_hang``.

    Attributes:
        hangs: how many were interrupted; whoever sees one end well sets it back.
    """

    def __init__(self, on_hang: Callable[[], None], limit_s: float) -> None:
        self._on_hang, self._limit_s = on_hang, limit_s
        self.hangs = self._looks = 0
        self._running: dict[int, _Watched] = {}
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watch(self, engine: Engine, limits: int = 1) -> Iterator[None]:
        """Watch the block, which may take so many limits; each thread may have one."""
        if self._thread is None:
            self._start()
        key = threading.get_ident()
        self._running[key] = _Watched(engine, self._looks, limits * _TICKS)
        try:
            yield
        finally:
            self._running.pop(key, None)

    def interrupt_all(self) -> None:
        """Interrupt every running inference."""
        for one in list(self._running.values()):
            one.interrupted = True
            one.engine.interrupt()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing runs; return whether that came in time."""
        end_s = time.monotonic() + timeout_s
        while self._running and time.monotonic() < end_s:
            self._ended.wait(0.01)
        return not self._running

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
        while not self._ended.wait(self._limit_s / _TICKS):
            self._looks += 1
            ages = [(self._looks - one.since, one) for one in list(self._running.values())]
            hanging = [one for age, one in ages if age > one.limit]
            if any(not one.interrupted for one in hanging):
                limit_s = max(one.limit for one in hanging) / _TICKS * self._limit_s
                _log.error("an inference takes longer than %g s; interrupting it", limit_s)
                self.hangs += 1
                self.interrupt_all()
            elif any(age > 2 * one.limit for age, one in ages):
                self._on_hang()
