"""ncnn, a peer: Tencent's runtime for phones and small boards."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_runtime.errors import EngineError

from .base import CHECKPOINT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.engines import Engine

__all__ = ["NcnnBackend"]

HALF_RANGE = 127.5
"""As in :mod:`p2p_train.networks.pixels`; ncnn has no uint8 blobs, so this lies outside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NcnnBackend:
    """A checkpoint, its norms folded, in ncnn on the CPU; see :class:`.base.Backend`.

    Attributes:
        bf16: keep weights and blobs in bfloat16.
    """

    name: str
    what: str
    bf16: bool = False
    needs: str = CHECKPOINT

    def missing(self) -> str | None:
        """Say what is not installed."""
        if importlib.util.find_spec("ncnn") is None:
            return 'ncnn is not installed: pip install "pix2pix-edge[peers]"'
        for module in ("torch", "onnx"):  # they read and fold the checkpoint
            if importlib.util.find_spec(module) is None:
                return f'{module} is not installed: pip install "pix2pix-edge[export]"'
        return None

    def open(self, path: Path, threads: int) -> Engine:
        """Convert a checkpoint and load it."""
        return _NcnnEngine(path, threads, bf16=self.bf16)


class _NcnnEngine:
    device = "cpu"

    def __init__(self, path: Path, threads: int, *, bf16: bool) -> None:
        import ncnn

        from p2p_export.graph.pixel_generator import fold, swap_channels
        from p2p_train.training.checkpoint import Checkpoint

        from .ncnn_file import write_ncnn

        generator = Checkpoint.load(path).build_generator()
        self._ncnn: Any = ncnn
        self._net: Any = ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_bf16_storage = self._net.opt.use_bf16_packed = bf16
        with tempfile.TemporaryDirectory() as folder:
            param, weights = write_ncnn(swap_channels(fold(generator)), Path(folder))
            if self._net.load_param(str(param)) or self._net.load_model(str(weights)):
                raise EngineError(f"ncnn cannot load what was written of {path}")

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR into the same shape and type, one after the other."""
        import numpy as np

        return np.stack([self._translate(frame) for frame in frames])

    def _translate(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import numpy as np

        from .ncnn_file import INPUT, OUTPUT

        height, width = frame.shape[:2]
        mat = self._ncnn.Mat.from_pixels(frame, self._ncnn.Mat.PixelType.PIXEL_BGR, width, height)
        mat.substract_mean_normalize([HALF_RANGE] * 3, [1 / HALF_RANGE] * 3)
        extractor = self._net.create_extractor()
        extractor.input(INPUT, mat)
        status, signal = extractor.extract(OUTPUT)
        if status:
            raise EngineError(f"ncnn failed with status {status}")
        levels = np.asarray(signal) * np.float32(HALF_RANGE) + np.float32(HALF_RANGE)  # (3, H, W)
        pixels = np.rint(levels).clip(0, 255).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))

    def close(self) -> None:
        """Free the network."""
        self._net.clear()
