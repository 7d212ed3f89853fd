"""Our own rows: an exported bundle in the engine that ``p2p-run`` would open."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2p_runtime.engines import Engine

__all__ = ["PlanBackend", "RuntimeBackend"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeBackend:
    """A bundle on one of the runtime's devices; see :class:`.base.Backend`.

    Attributes:
        device: as a user types it for ``p2p-run``.
        graph: on a GPU, capture the whole network as one CUDA graph; it fails where that fails.
    """

    name: str
    what: str
    needs: str
    device: str = "cpu"
    graph: bool = True

    def missing(self) -> str | None:
        """Say what is not installed, or which devices there are instead."""
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
        """Open a bundle; a device that turns out to be another one is an error."""
        from p2p_runtime.engines import open_engine
        from p2p_runtime.model.bundle import ModelBundle

        bundle = ModelBundle.load(path)
        if self.device == "cpu":
            return open_engine(bundle, self.device, threads)
        from p2p_runtime.engines.ort_gpu import OrtGpuEngine

        return OrtGpuEngine(bundle, device=self.device, graph=self.graph)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanBackend:
    """A TensorRT engine that ``p2p-export`` built; see :class:`.base.Backend`."""

    name: str
    what: str
    needs: str

    def missing(self) -> str | None:
        """Say that there is no GPU; a TensorRT that is missing is an error, the plan was built."""
        from p2p_runtime.engines.gpu import first_gpu
        from p2p_runtime.errors import DeviceUnavailableError

        try:
            first_gpu()
        except DeviceUnavailableError as error:
            return str(error)
        return None

    def open(self, path: Path, threads: int) -> Engine:
        """Load a plan; its manifest must fit this GPU and this TensorRT."""
        from p2p_runtime.engines import open_engine
        from p2p_runtime.model.bundle import ModelBundle

        return open_engine(ModelBundle.load(path), "tensorrt")
