"""The interface between frames and the library that runs the generator."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import BundleError, ConfigError, EngineError
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.golden import GoldenFrame

__all__ = [
    "Engine", "FrameByFrameEngine", "ServerOptions", "UninterruptibleEngine", "is_server",
    "replay_golden",
]  # fmt: skip

_TOKEN = re.compile(r"[!-~]{1,8192}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """How to deal with a model server.

    Attributes:
        deadline_s: seconds in which a request has to be answered, repetitions included.
        reconnect_for_s: seconds after which a server that was lost is given up.
        token: what it wants to know ("Authorization: Bearer"); None for nothing.
    """

    deadline_s: float = 10.0
    reconnect_for_s: float = 300.0
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ConfigError("the token for the server holds blanks or other odd characters")


def is_server(device: str) -> bool:
    """Tell whether a device is the address of a model server, or is meant to be one."""
    return "://" in device


class Engine(Protocol):
    """Runs a generator on one device."""

    @property
    def device(self) -> str:
        """Where the generator runs, as the user would type it: ``cpu``, ``cuda``, ``tensorrt``."""

    @property
    def restarts(self) -> int:
        """How often the model was opened again; 0 for an engine without supervision."""

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate a batch (N, H, W, 3) uint8 BGR, C-contiguous, of the contract's size.

        Raises:
            EngineError: the device or its library failed.
        """

    def interrupt(self) -> None:
        """Let every :meth:`infer`, now and later, end with an EngineError, if the library can.

        May be called from any thread. It does nothing where a running inference cannot be ended.
        """

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards."""


class UninterruptibleEngine:
    """Base of engines whose library can neither end a running inference nor restart itself."""

    restarts = 0

    def interrupt(self) -> None:
        """Do nothing."""


class FrameByFrameEngine(UninterruptibleEngine):
    """Base of engines with inputs of one ``shape``, (1, H, W, 3), from one thread at a time."""

    device: str

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self._shape = shape
        self._lock = threading.Lock()
        self._open = False

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, see :class:`Engine`."""
        if frames.shape[1:] != self._shape[1:] or frames.dtype != np.uint8:
            raise EngineError(
                f"the model takes {self._shape} uint8, not {frames.shape} {frames.dtype}"
            )
        images = np.empty(frames.shape, np.uint8)
        with self._lock:
            if not self._open:
                raise EngineError("the engine is closed")
            for frame, image in zip(np.ascontiguousarray(frames), images, strict=True):
                self._translate(frame, image)
        return images

    def _translate(self, frame: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        """Translate one frame (H, W, 3) uint8 BGR into ``image``; the lock is held."""
        raise NotImplementedError


def replay_golden(
    bundle: ModelBundle, device: str, infer: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> None:
    """Raise a BundleError if a device makes of the golden frame what the exporter's did not."""
    golden = bundle.info.golden
    frame = GoldenFrame.draw(bundle.contract, golden.seed)
    psnr_db = golden.psnr_db(infer(frame[np.newaxis])[0])
    # Written so that a NaN floor or result fails, too.
    if not psnr_db >= golden.min_psnr_db:
        raise BundleError(
            f"{bundle.path} does not compute on {device} what was exported: its golden "
            f"frame came out at {psnr_db:.1f} dB, at least {golden.min_psnr_db:.1f} are needed"
        )
