"""Exported bundles and TensorRT engines in the engine that ``p2p-run`` opens."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2p_runtime.engines import Engine

__all__ = ["RuntimeBackend", "TensorRTBackend"]


@dataclass(frozen=True, slots=True)
class RuntimeBackend:
    """A bundle on one of the runtime's devices; see :class:`.base.Backend`.

    Attributes:
        device: a value of ``p2p-run --device``.
        graph: on a GPU, capture the whole network as one CUDA graph, or fail.
    """

    name: str
    what: str
    needs: str
    device: str = "cpu"
    graph: bool = True

    def unavailable(self) -> str | None:
        """Return the pip command if onnxruntime is not installed, or the available devices."""
        if importlib.util.find_spec("onnxruntime") is None:
            return 'onnxruntime is not installed: pip install "pix2pix-edge[cpu]", or [gpu]'
        from p2p_runtime.engines import resolve_device
        from p2p_runtime.errors import DeviceUnavailableError

        try:
            resolve_device(self.device)
        except DeviceUnavailableError as error:
            return str(error)
        return None

    def open(self, path: Path, threads: int) -> Engine:
        """Open a bundle; a fall-back to another device is an error."""
        from p2p_runtime.engines import open_engine
        from p2p_runtime.model.bundle import ModelBundle

        bundle = ModelBundle.load(path)
        if self.device == "cpu":
            return open_engine(bundle, self.device, threads)
        from p2p_runtime.engines.ort_gpu import OrtGpuEngine

        return OrtGpuEngine(bundle, device=self.device, graph=self.graph)


@dataclass(frozen=True, slots=True)
class TensorRTBackend:
    """A TensorRT engine that ``p2p-export`` built; see :class:`.base.Backend`."""

    name: str
    what: str
    needs: str

    def unavailable(self) -> str | None:
        """Return why there is no GPU. A missing TensorRT is an error, since an engine was built."""
        from p2p_runtime.engines.gpu import first_gpu
        from p2p_runtime.errors import DeviceUnavailableError

        try:
            first_gpu()
        except DeviceUnavailableError as error:
            return str(error)
        return None

    def open(self, path: Path, threads: int) -> Engine:
        """Load an engine, whose manifest must match this GPU and this TensorRT."""
        from p2p_runtime.engines import open_engine
        from p2p_runtime.model.bundle import ModelBundle

        return open_engine(ModelBundle.load(path), "tensorrt")
