"""A process for each backend, stopped by a signal whenever it is not its turn.

Idle threads of inference libraries spin, some for a fifth of a second, and take the cores from
whoever comes next. A stopped process does not: so every backend runs alone, with the settings that
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_runtime.errors import EngineError, P2PError
from p2p_runtime.memory import peak_rss_mib

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.engines import Engine

    from .backends import Backend

__all__ = ["BackendProcess", "Round", "StartupTimes", "Unavailable"]

PR_SET_PDEATHSIG = 1
FAREWELL_S = 10.0
PATIENCE_S = 900.0
"""A backend that says nothing for so long is taken for dead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unavailable:
    """Why a backend is not measured."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StartupTimes:
    """What it takes until a backend is warm.

    Attributes:
        start_ms: from the start of its Python process until the model is loaded.
        first_ms, second_ms: of the first two frames; compilers work during the first.
    """

    start_ms: float
    first_ms: float
    second_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """A backend's turn.

    Attributes:
        latencies_ms: of each frame, from host memory to host memory.
        cpu_ms: CPU time of the whole process over all of them.
    """

    latencies_ms: tuple[float, ...]
    cpu_ms: float


class BackendProcess:
    """A backend in a process of its own; a context manager, which ends the process.

    Attributes:
        name: the backend's.
    """

    def __init__(
        self, backend: Backend, path: Path, frames: NDArray[np.uint8], threads: int
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            backend: what to run.
            path: the file that it runs.
            frames: (M, N, H, W, 3) uint8 BGR, the batches that turns refer to by number.
            threads: CPU threads.
        """
        self.name = backend.name
        self._frames = frames
        context = multiprocessing.get_context("spawn")
        self._pipe, self._its_pipe = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(self._its_pipe, backend, path, threads, os.getpid()), daemon=True
        )

    def __enter__(self) -> BackendProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        if self._process.pid is not None:
            if self._process.is_alive():
                os.kill(self._process.pid, signal.SIGCONT)  # a stopped process hears nothing
            self._process.join(FAREWELL_S)  # libraries clean up when they are let end by themselves
            self._process.kill()
            self._process.join()

    def start(self) -> StartupTimes | Unavailable:
        """Start the process, load the model, translate two frames; then stop it.

        Raises:
            P2PError: what the backend raised.
        """
        started_s = time.monotonic()
        self._process.start()
        self._its_pipe.close()
        opened = self._answer()
        if isinstance(opened, Unavailable):
            return opened
        start_ms = (opened - started_s) * 1e3
        self._pipe.send(("keep", self._frames))
        self._answer()
        first, second = (self._ask("turn", [0]).latencies_ms[0] for _ in range(2))
        return StartupTimes(start_ms=start_ms, first_ms=first, second_ms=second)

    def take_turn(self, numbers: Sequence[int], warm_up: int) -> Round:
        """Translate the batches of these numbers, after some untimed ones."""
        turn: Round = self._ask("turn", list(numbers), warm_up)
        return turn

    def images(self, numbers: Sequence[int]) -> NDArray[np.uint8]:
        """Return what becomes of some batches, (M * N, H, W, 3) uint8 BGR."""
        images: NDArray[np.uint8] = self._ask("images", list(numbers))
        return images

    def peak_rss_mib(self) -> float:
        """Return the most memory that the process ever held, its libraries included."""
        peak: float = self._ask("peak_rss_mib")
        return peak

    def _ask(self, *request: Any) -> Any:
        """Let the process run until it has answered, then stop it again."""
        os.kill(self._pid(), signal.SIGCONT)
        self._pipe.send(request)
        answer = self._answer()
        os.kill(self._pid(), signal.SIGSTOP)
        # All its threads have stopped when this returns; an exit is left for others to see.
        os.waitid(os.P_PID, self._pid(), os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return answer

    def _answer(self) -> Any:
        try:
            if not self._pipe.poll(PATIENCE_S):
                raise EngineError(f"{self.name} said nothing for {PATIENCE_S:.0f} s")
            answer = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise EngineError(
                f"{self.name}: its process ended with exit code {self._process.exitcode}"
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _pid(self) -> int:
        assert self._process.pid is not None, "start() comes first"
        return self._process.pid


class _Bench:
    """What a backend's process does when it is asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._frames: NDArray[np.uint8]

    def keep(self, frames: NDArray[np.uint8]) -> None:
        self._frames = frames

    def turn(self, numbers: list[int], warm_up: int = 0) -> Round:
        for _ in range(warm_up):
            self._engine.infer(self._frames[numbers[0]])
        latencies_ms = []
        cpu_s = time.process_time()
        for number in numbers:
            frames = self._frames[number]
            start_s = time.perf_counter()
            self._engine.infer(frames)
            latencies_ms.append((time.perf_counter() - start_s) * 1e3)
        cpu_ms = (time.process_time() - cpu_s) * 1e3
        return Round(latencies_ms=tuple(latencies_ms), cpu_ms=cpu_ms)

    def images(self, numbers: list[int]) -> NDArray[np.uint8]:
        import numpy as np

        # An engine may give its answer in memory that it uses again.
        return np.concatenate([self._engine.infer(self._frames[n]).copy() for n in numbers])

    def peak_rss_mib(self) -> float:
        return peak_rss_mib()


def _serve(pipe: Connection, backend: Backend, path: Path, threads: int, parent: int) -> None:
    """Open a backend and answer requests until the other end of the pipe is closed."""
    _prepare(parent)
    with tempfile.TemporaryDirectory() as cache, contextlib.suppress(EOFError):
        # A compiler's cache from an earlier run would hide what a first frame costs.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        try:
            if reason := backend.missing():
                pipe.send(Unavailable(reason=reason))
                return
            bench = _Bench(backend.open(path, threads))
            pipe.send(time.monotonic())
            while True:
                verb, *arguments = pipe.recv()
                pipe.send(getattr(bench, verb)(*arguments))
        except P2PError as error:
            pipe.send(type(error)(f"{backend.name}: {error}"))
        except MemoryError:
            pipe.send(EngineError(f"{backend.name}: not enough memory"))


def _prepare(parent: int) -> None:
    """Let this process end with its parent, even while it is stopped, and keep stdout clean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    os.dup2(2, 1)  # what libraries print is no result
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool that outlives a killed process
