"""The backends that ``p2p-bench`` knows, by name, and the choice among them.

Libraries are imported only where a backend asks for its device or opens a file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from p2p_runtime.errors import ConfigError, DeviceUnavailableError

if TYPE_CHECKING:
    from p2p_runtime.engines import Engine

    from .torch_engine import DType

__all__ = ["BACKENDS", "CHECKPOINT", "EAGER", "Backend", "RuntimeBackend", "choose"]

CHECKPOINT = "checkpoint"
"""Kind of file that torch runs; the other backends run a bundle, named by its precision."""


class Backend(Protocol):
    """A library, a precision and a device.

    Attributes:
        name: the name that a user types after ``--backends``.
        what: a description for tables and charts, ``library, precision``.
        needs: the kind of file that it runs: :data:`CHECKPOINT` or a bundle's precision.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def what(self) -> str: ...  # noqa: D102

    @property
    def needs(self) -> str: ...  # noqa: D102

    def unavailable(self) -> str | None:
        """Return why this machine cannot run it, with the remedy; None if it can."""
        ...

    def open(self, path: Path, threads: int) -> Engine:
        """Load a file on ``threads`` CPU threads.

        Raises:
            P2PError: the file is broken, or the library fell back to another device or precision.
        """
        ...


@dataclass(frozen=True, slots=True)
class TorchBackend:
    """A checkpoint in torch; see :class:`Backend`.

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
        reason = _not_installed("torch", "export") or _not_installed("onnx", "export")
        if reason or self.device == "cpu":
            return reason
        if reason := _no_gpu():  # without a driver there is no need to load torch
            return reason
        import torch

        return None if torch.cuda.is_available() else "torch finds no CUDA device"

    def open(self, path: Path, threads: int) -> Engine:
        """Load a checkpoint's generator in eval mode."""
        from .torch_engine import TorchEngine

        return TorchEngine(
            path, threads, dtype=self.dtype, compiled=self.compiled, device=self.device
        )


@dataclass(frozen=True, slots=True)
class RuntimeBackend:
    """A bundle in the engine that ``p2p-run`` opens; see :class:`Backend`.

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
        if reason := _not_installed("onnxruntime", "cpu", ", or [gpu]"):
            return reason
        from p2p_runtime.engines import resolve_device

        return _refusal(lambda: resolve_device(self.device))

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
    """A TensorRT engine that ``p2p-export`` built; see :class:`Backend`."""

    name: str
    what: str
    needs: str

    def unavailable(self) -> str | None:
        """Return why there is no GPU. A missing TensorRT is an error, since an engine was built."""
        return _no_gpu()

    def open(self, path: Path, threads: int) -> Engine:
        """Load an engine, whose manifest must match this GPU and this TensorRT."""
        from p2p_runtime.engines import open_engine
        from p2p_runtime.model.bundle import ModelBundle

        return open_engine(ModelBundle.load(path), "tensorrt")


@dataclass(frozen=True, slots=True)
class OpenVinoBackend:
    """A bundle in OpenVINO's CPU plugin; see :class:`Backend`.

    Attributes:
        computes: type of the layers that are not integer, ``f32`` or ``bf16``.
    """

    name: str
    what: str
    needs: str
    computes: str = "f32"

    def unavailable(self) -> str | None:
        """Return the pip command if openvino is not installed."""
        return _not_installed("openvino", "peers")

    def open(self, path: Path, threads: int) -> Engine:
        """Compile a bundle for the CPU."""
        from .openvino_engine import OpenVinoEngine

        return OpenVinoEngine(path, threads, self.computes)


def _not_installed(module: str, extra: str, more: str = "") -> str | None:
    if importlib.util.find_spec(module) is None:
        return f'{module} is not installed: pip install "pix2pix-edge[{extra}]"{more}'
    return None


def _no_gpu() -> str | None:
    from p2p_runtime.engines.gpu import first_gpu

    return _refusal(first_gpu)


def _refusal(ask: Callable[[], object]) -> str | None:
    """Return the message if asking for a device raises :class:`DeviceUnavailableError`."""
    try:
        ask()
    except DeviceUnavailableError as error:
        return str(error)
    return None


EAGER = "eager"
"""Name of the reference: the checkpoint in torch, as it was trained."""

# fmt: off
_CATALOGUE: tuple[Backend, ...] = (
    TorchBackend(EAGER, "torch eager, fp32"),
    TorchBackend("torch-bf16", "torch eager, bf16, channels last", "bfloat16"),
    TorchBackend("torch-fp16", "torch eager, fp16, channels last", "float16"),
    TorchBackend("compile", "torch.compile, fp32", compiled=True),
    TorchBackend("compile-bf16", "torch.compile, bf16, channels last", "bfloat16", compiled=True),
    RuntimeBackend("fp32", "ONNX Runtime, fp32", "fp32"),
    RuntimeBackend("fp16", "ONNX Runtime, fp16", "fp16"),
    RuntimeBackend("int8", "ONNX Runtime, int8", "int8"),
    OpenVinoBackend("openvino-fp32", "OpenVINO, fp32", "fp32"),
    OpenVinoBackend("openvino-bf16", "OpenVINO, bf16", "fp32", computes="bf16"),
    OpenVinoBackend("openvino-int8", "OpenVINO, int8", "int8"),
    TorchBackend("cuda-eager", "torch eager on CUDA, fp32", device="cuda"),
    TorchBackend("cuda-torch-fp16", "torch eager on CUDA, fp16, channels last", "float16",
                 device="cuda"),
    TorchBackend("cuda-compile-fp16", "torch.compile on CUDA, fp16, channels last", "float16",
                 compiled=True, device="cuda"),
    RuntimeBackend("cuda-fp32", "ONNX Runtime on CUDA, fp32, CUDA graph", "fp32", "cuda"),
    RuntimeBackend("cuda-fp16", "ONNX Runtime on CUDA, fp16, CUDA graph", "fp16", "cuda"),
    RuntimeBackend("cuda-fp16-no-graph", "ONNX Runtime on CUDA, fp16, no CUDA graph", "fp16",
                   "cuda", graph=False),
    RuntimeBackend("tensorrt-fp16", "ONNX Runtime with TensorRT, fp16, CUDA graph", "fp16",
                   "tensorrt"),
    TensorRTBackend("tensorrt-engine-fp16", "TensorRT engine, fp16", "fp16 TensorRT engine"),
    TensorRTBackend("tensorrt-engine-int8", "TensorRT engine, int8",
                    "int8-tensorrt TensorRT engine"),
)
# fmt: on
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _CATALOGUE}
"""Every backend by the name that a user types after ``--backends``, in the table's order."""


def choose(names: Sequence[str] | None) -> list[Backend]:
    """Return the backends of some names, in the table's order; all of them without names.

    Args:
        names: the backends to measure or, with a minus before each, those to leave out.

    Raises:
        ConfigError: a name is unknown (the message lists the known ones), or only some names have
            a minus.
    """
    bare = {name.removeprefix("-") for name in names or ()}
    if unknown := [name for name in bare if name not in BACKENDS]:
        raise ConfigError(f"no backend {', '.join(unknown)}; there are {', '.join(BACKENDS)}")
    left_out = [name for name in names or () if name.startswith("-")]
    if left_out and len(left_out) < len(names or ()):
        raise ConfigError("name the backends to measure or, with a minus, those to leave out")
    wanted = set(BACKENDS) - bare if names is None or left_out else bare
    return [backend for name, backend in BACKENDS.items() if name in wanted]
