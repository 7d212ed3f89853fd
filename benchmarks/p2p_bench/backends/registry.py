"""The backends that ``p2p-bench`` knows, by name, and the choice among them.

Libraries are imported only where a backend asks for its device or opens a file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2p_runtime.engines import Engine
from p2p_runtime.errors import ConfigError, DeviceUnavailableError

if TYPE_CHECKING:
    from .torch_engine import DType

__all__ = ["BACKENDS", "CHECKPOINT", "EAGER", "ENGINE", "Backend", "choose", "runtime_backend"]

CHECKPOINT = "checkpoint"
"""Kind of file that torch runs; the other backends run a bundle, named by its precision."""

ENGINE = " TensorRT engine"
"""End of the kinds that are TensorRT engines, behind the precision of their ONNX file."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A library, a precision and a device.

    Attributes:
        name: the name that a user types after ``--backends``.
        what: a description for tables and charts, ``library, precision``.
        needs: the kind of file that it runs: :data:`CHECKPOINT` or a bundle's precision.
        open: loads a file on so many CPU threads. A P2PError is raised if the file is broken, or
            the library fell back to another device or precision.
        unavailable: returns why this machine cannot run it, with the remedy; None if it can.
    """

    name: str
    what: str
    needs: str
    open: Callable[[Path, int], Engine]
    unavailable: Callable[[], str | None]


def torch_backend(
    name: str, what: str, dtype: DType = "float32", *, compiled: bool = False, device: str = "cpu"
) -> Backend:
    """Return a checkpoint in torch, see :class:`.torch_engine.TorchEngine`."""
    opened = partial(_open_torch, dtype=dtype, compiled=compiled, device=device)
    return Backend(name, what, CHECKPOINT, opened, partial(_lacks_torch, device))


def runtime_backend(
    name: str, what: str, needs: str, device: str = "cpu", *, graph: bool = True
) -> Backend:
    """Return a bundle or TensorRT engine in what ``p2p-run --device`` opens.

    On a GPU, ``graph`` captures the whole network of a bundle as one CUDA graph, or fails.
    """
    opened = partial(_open_bundle, device=device, graph=graph)
    # A missing TensorRT is an error later, since an engine was built.
    lacks = _no_gpu if needs.endswith(ENGINE) else partial(_lacks_runtime, device)
    return Backend(name, what, needs, opened, lacks)


def _openvino_backend(name: str, what: str, needs: str, computes: str = "f32") -> Backend:
    opened = partial(_open_openvino, computes=computes)
    return Backend(name, what, needs, opened, partial(_not_installed, "openvino", "peers"))


def _open_torch(path: Path, threads: int, **settings: Any) -> Engine:
    from .torch_engine import TorchEngine

    return TorchEngine(path, threads, **settings)


def _open_bundle(path: Path, threads: int, *, device: str, graph: bool) -> Engine:
    from p2p_runtime.engines import open_engine
    from p2p_runtime.model.bundle import ModelBundle

    bundle = ModelBundle.load(path)
    if device == "cpu" or bundle.engine_path is not None:
        return open_engine(bundle, device, threads)
    from p2p_runtime.engines.ort_gpu import OrtGpuEngine

    return OrtGpuEngine(bundle, device=device, graph=graph)


def _open_openvino(path: Path, threads: int, *, computes: str) -> Engine:
    from .openvino_engine import OpenVinoEngine

    return OpenVinoEngine(path, threads, computes)


def _lacks_torch(device: str) -> str | None:
    reason = _not_installed("torch", "export") or _not_installed("onnx", "export")
    if reason or device == "cpu":
        return reason
    if reason := _no_gpu():  # without a driver there is no need to load torch
        return reason
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def _lacks_runtime(device: str) -> str | None:
    if reason := _not_installed("onnxruntime", "cpu", ", or [gpu]"):
        return reason
    from p2p_runtime.engines import resolve_device

    return _refusal(lambda: resolve_device(device))


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
    torch_backend(EAGER, "torch eager, fp32"),
    torch_backend("torch-bf16", "torch eager, bf16, channels last", "bfloat16"),
    torch_backend("torch-fp16", "torch eager, fp16, channels last", "float16"),
    torch_backend("compile", "torch.compile, fp32", compiled=True),
    torch_backend("compile-bf16", "torch.compile, bf16, channels last", "bfloat16", compiled=True),
    runtime_backend("fp32", "ONNX Runtime, fp32", "fp32"),
    runtime_backend("fp16", "ONNX Runtime, fp16", "fp16"),
    runtime_backend("int8", "ONNX Runtime, int8", "int8"),
    _openvino_backend("openvino-fp32", "OpenVINO, fp32", "fp32"),
    _openvino_backend("openvino-bf16", "OpenVINO, bf16", "fp32", computes="bf16"),
    _openvino_backend("openvino-int8", "OpenVINO, int8", "int8"),
    torch_backend("cuda-eager", "torch eager on CUDA, fp32", device="cuda"),
    torch_backend("cuda-torch-fp16", "torch eager on CUDA, fp16, channels last", "float16",
                  device="cuda"),
    torch_backend("cuda-compile-fp16", "torch.compile on CUDA, fp16, channels last", "float16",
                  compiled=True, device="cuda"),
    runtime_backend("cuda-fp32", "ONNX Runtime on CUDA, fp32, CUDA graph", "fp32", "cuda"),
    runtime_backend("cuda-fp16", "ONNX Runtime on CUDA, fp16, CUDA graph", "fp16", "cuda"),
    runtime_backend("cuda-fp16-no-graph", "ONNX Runtime on CUDA, fp16, no CUDA graph", "fp16",
                    "cuda", graph=False),
    runtime_backend("tensorrt-fp16", "ONNX Runtime with TensorRT, fp16, CUDA graph", "fp16",
                    "tensorrt"),
    runtime_backend("tensorrt-engine-fp16", "TensorRT engine, fp16", "fp16 TensorRT engine",
                    "tensorrt"),
    runtime_backend("tensorrt-engine-int8", "TensorRT engine, int8",
                    "int8-tensorrt TensorRT engine", "tensorrt"),
)
# fmt: on
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _CATALOGUE}
"""Every backend by the name that a user types after ``--backends``, in the table's order."""


def choose(names: Sequence[str] | None) -> list[Backend]:
    """Return the backends of some names, in the table's order; all of them without names.

    With a minus before each, the names are those to leave out.

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
