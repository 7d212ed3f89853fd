"""Checkpoints in torch: as trained, in 16 bits, and compiled."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .base import CHECKPOINT

if TYPE_CHECKING:
    from p2p_runtime.engines import Engine

__all__ = ["DType", "TorchBackend"]

DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class TorchBackend:
    """A checkpoint in torch; see :class:`.base.Backend`.

    Attributes:
        dtype: type that the generator computes in.
        compiled: through ``torch.compile``, the whole graph from pixels to pixels.
        device: ``cpu`` or ``cuda``.
    """

    name: str
    what: str
    dtype: DType = "float32"
    compiled: bool = False
    device: str = "cpu"
    needs: str = CHECKPOINT

    def unavailable(self) -> str | None:
        """Return the pip command if torch is not installed, or why there is no GPU."""
        for module in ("torch", "onnx"):
            if importlib.util.find_spec(module) is None:
                return f'{module} is not installed: pip install "pix2pix-edge[export]"'
        if self.device == "cpu":
            return None
        from p2p_runtime.engines.gpu import first_gpu
        from p2p_runtime.errors import DeviceUnavailableError

        try:
            first_gpu()  # without a driver there is no need to load torch
        except DeviceUnavailableError as error:
            return str(error)
        import torch

        return None if torch.cuda.is_available() else "torch finds no CUDA device"

    def open(self, path: Path, threads: int) -> Engine:
        """Load a checkpoint's generator in eval mode."""
        from .torch_engine import TorchEngine

        return TorchEngine(
            path, threads, dtype=self.dtype, compiled=self.compiled, device=self.device
        )
