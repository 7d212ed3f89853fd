"""The engine that runs a checkpoint in torch: as trained, in 16 bits, or compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_export.graph.pixel_generator import PixelGenerator
from p2p_runtime.engines import UninterruptibleEngine
from p2p_train.training.checkpoint import Checkpoint

__all__ = ["DType", "TorchEngine"]

DType = Literal["float32", "bfloat16", "float16"]


class TorchEngine(UninterruptibleEngine):
    """A checkpoint's generator in eval mode; see :class:`p2p_runtime.engines.base.Engine`.

    In float32 it runs as trained, in NCHW; in 16 bits in channels-last layout, as torch's guides
    advise. With ``torch.compile``, a graph break is an error. ``threads`` are those of torch in the
    whole process. A CheckpointError is raised if the checkpoint is missing or broken.
    """

    def __init__(
        self, path: Path, threads: int, *, dtype: DType, compiled: bool, device: str
    ) -> None:
        generator: nn.Module = Checkpoint.load(path).build_generator()
        if dtype != "float32":
            generator = _HalfWidth(generator, getattr(torch, dtype))
        torch.set_num_threads(threads)
        self.device = device
        self._generator = PixelGenerator(generator).to(device)
        if compiled:
            self._generator.compile(fullgraph=True)

    @torch.inference_mode()
    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate a batch, (N, H, W, 3) uint8 BGR in and out, both in host memory."""
        pixels = torch.from_numpy(frames).to(self.device)
        images: NDArray[np.uint8] = self._generator(pixels).cpu().numpy()
        return images

    def close(self) -> None:
        """Do nothing; the garbage collector frees the weights."""


class _HalfWidth(nn.Module):
    """A generator that computes in 16 bits, channels last, between float32 signals."""

    def __init__(self, generator: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.generator = generator.to(dtype).to(memory_format=torch.channels_last)
        self.dtype = dtype

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Translate (N, 3, H, W) in [-1, 1] into the same shape and range."""
        narrowed = signal.to(self.dtype).contiguous(memory_format=torch.channels_last)
        image: torch.Tensor = self.generator(narrowed)
        return image
