"""A checkpoint in torch, op by op: where a trained generator starts from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from p2p_export.graph import PixelGenerator
from p2p_train.checkpoint import Checkpoint, load_weights, make_generator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EagerEngine"]


class EagerEngine:
    """An engine, see :class:`p2p_runtime.engines.base.Engine`, that needs torch.

    Attributes:
        contract: the checkpoint's.
        inputs: (N, H, W, 3) uint8 BGR, the validation inputs that the checkpoint carries.
    """

    device = "cpu"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load a checkpoint's generator in eval mode.

        Args:
            path: the checkpoint.
            threads: CPU threads of torch, for the whole process; None leaves them.

        Raises:
            CheckpointError: it is missing or broken.
        """
        checkpoint = Checkpoint.load(path)
        generator = make_generator(checkpoint.config)
        load_weights(generator, checkpoint.generator, "generator")
        self.contract = checkpoint.contract
        self.inputs: NDArray[np.uint8] = checkpoint.frames.numpy()
        self._generator = PixelGenerator(generator)
        if threads is not None:
            torch.set_num_threads(threads)

    @torch.inference_mode()
    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate a batch, (N, H, W, 3) uint8 BGR in and out."""
        images: NDArray[np.uint8] = self._generator(torch.from_numpy(frames)).numpy()
        return images

    def close(self) -> None:
        """Do nothing: the garbage collector frees the weights."""
