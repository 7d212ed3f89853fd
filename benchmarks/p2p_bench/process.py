"""Run each backend in a process of its own, stopped by a signal while another one is timed.

Idle threads of inference libraries spin, some for a fifth of a second, and take CPU time from the
backend that runs next. A stopped process cannot, so every backend runs alone with the settings that
users get.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.engines import Engine
from p2p_runtime.errors import EngineError, P2PError
from p2p_runtime.memory import peak_rss_mib

from .backends.registry import Backend

__all__ = ["BackendProcess", "Round", "StartupTimes"]

PR_SET_PDEATHSIG = 1
EXIT_TIMEOUT_S = 10.0
"""Time that a process has to exit by itself before it is killed."""
REPLY_TIMEOUT_S = 900.0
"""Time after which a process that sends no reply counts as dead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartupTimes:
    """From the start of a backend's process until its model is loaded, and of the first two frames.

    Compilers work during the first.
    """

    start_ms: float
    first_ms: float
    second_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """The latency of each batch of a round, and the CPU time of the whole process over all."""

    latencies_ms: tuple[float, ...]
    cpu_ms: float


class BackendProcess:
    """A backend in a child process; a context manager that ends the process.

    ``frames`` are (M, N, H, W, 3) uint8 BGR, M batches that later calls refer to by number.
    """

    def __init__(
        self, backend: Backend, path: Path, frames: NDArray[np.uint8], threads: int
    ) -> None:
        self.name = backend.name
        self._frames = frames
        context = multiprocessing.get_context("spawn")
        self._pipe, self._child_pipe = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(self._child_pipe, backend, path, threads, os.getpid()), daemon=True
        )

    def __enter__(self) -> BackendProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pipe.close()
        if self._process.pid is not None:
            if self._process.is_alive():
                os.kill(self._process.pid, signal.SIGCONT)  # a stopped process cannot exit
            self._process.join(EXIT_TIMEOUT_S)  # a regular exit lets libraries clean up
            self._process.kill()
            self._process.join()

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process.pid is not None, "start() comes first"
        return self._process.pid

    def start(self) -> StartupTimes | str:
        """Start the process, load the model, translate two frames, and stop the process.

        A text says why this machine cannot run the backend. This and the other methods raise the
        P2PError that the backend raised.
        """
        started_s = time.monotonic()
        self._process.start()
        self._child_pipe.close()
        loaded = self._reply()
        if isinstance(loaded, str):
            return loaded
        start_ms = (loaded - started_s) * 1e3
        self._pipe.send(("store", self._frames))
        self._reply()
        first, second = (self._call("run_round", [0]).latencies_ms[0] for _ in range(2))
        return StartupTimes(start_ms=start_ms, first_ms=first, second_ms=second)

    def run_round(self, numbers: Sequence[int], warm_up: int) -> Round:
        """Translate the batches of these numbers after ``warm_up`` untimed ones."""
        measured: Round = self._call("run_round", list(numbers), warm_up)
        return measured

    def images(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """Return the images of some batches, (M * N, H, W, 3) uint8 BGR."""
        images: NDArray[np.uint8] = self._call("images", list(numbers))
        return images

    def peak_rss_mib(self) -> float:
        """Return the largest resident memory of the process so far, libraries included."""
        peak: float = self._call("peak_rss_mib")
        return peak

    def _call(self, *request: Any) -> Any:
        """Let the process run until it replies, then stop it again."""
        os.kill(self.pid, signal.SIGCONT)
        self._pipe.send(request)
        reply = self._reply()
        os.kill(self.pid, signal.SIGSTOP)
        # Returns when all threads have stopped. WNOWAIT leaves an exit for join() to collect.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return reply

    def _reply(self) -> Any:
        try:
            if not self._pipe.poll(REPLY_TIMEOUT_S):
                raise EngineError(f"{self.name} sent no reply for {REPLY_TIMEOUT_S:.0f} s")
            reply = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise EngineError(
                f"{self.name}: its process ended with exit code {self._process.exitcode}"
            ) from error
        if isinstance(reply, BaseException):
            raise reply
        return reply


class _Server:
    """The methods that the parent may call in a backend's process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._frames: NDArray[np.uint8]

    def store(self, frames: NDArray[np.uint8]) -> None:
        self._frames = frames

    def run_round(self, numbers: list[int], warm_up: int = 0) -> Round:
        for _ in range(warm_up):
            self._engine.infer(self._frames[numbers[0]])
        latencies_ms = []
        cpu_s = time.process_time()
        for number in numbers:
            frames = self._frames[number]  # (N, H, W, 3)
            start_s = time.perf_counter()
            self._engine.infer(frames)
            latencies_ms.append((time.perf_counter() - start_s) * 1e3)
        cpu_ms = (time.process_time() - cpu_s) * 1e3
        return Round(latencies_ms=tuple(latencies_ms), cpu_ms=cpu_ms)

    def images(self, numbers: list[int]) -> NDArray[np.uint8]:
        # Copied, because an engine may return the same memory for every batch.
        return np.concatenate([self._engine.infer(self._frames[n]).copy() for n in numbers])

    def peak_rss_mib(self) -> float:
        return peak_rss_mib()


def _serve(pipe: Connection, backend: Backend, path: Path, threads: int, parent: int) -> None:
    """Load a backend and answer calls until the parent closes the pipe."""
    _prepare(parent)
    with tempfile.TemporaryDirectory() as cache, contextlib.suppress(EOFError):
        # A compiler's cache from an earlier run would hide the cost of the first frame.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        try:
            if reason := backend.unavailable():
                pipe.send(reason)
                return
            server = _Server(backend.open(path, threads))
            pipe.send(time.monotonic())
            while True:
                method, *arguments = pipe.recv()
                pipe.send(getattr(server, method)(*arguments))
        except P2PError as error:
            pipe.send(type(error)(f"{backend.name}: {error}"))
        except MemoryError:
            pipe.send(EngineError(f"{backend.name}: not enough memory"))


def _prepare(parent: int) -> None:
    """Make this process end with its parent, even while stopped, and keep stdout for results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it and ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    os.dup2(2, 1)  # libraries print to stdout
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # a pool would outlive a killed process
