"""The backends that ``p2p-bench`` knows, by name, and the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_runtime.errors import ConfigError

from .openvino_backend import OpenVinoBackend
from .runtime_backend import RuntimeBackend, TensorRTBackend
from .torch_backend import TorchBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Backend

__all__ = ["BACKENDS", "EAGER", "choose"]

EAGER = "eager"
"""Name of the reference: the checkpoint in torch, as it was trained."""

_CATALOGUE: tuple[Backend, ...] = (
    TorchBackend(EAGER, "torch eager, fp32"),
    TorchBackend("torch-bf16", "torch eager, bf16, channels last", dtype="bfloat16"),
    TorchBackend("torch-fp16", "torch eager, fp16, channels last", dtype="float16"),
    TorchBackend("compile", "torch.compile, fp32", compiled=True),
    TorchBackend(
        "compile-bf16", "torch.compile, bf16, channels last", dtype="bfloat16", compiled=True
    ),
    RuntimeBackend("fp32", "ONNX Runtime, fp32", "fp32"),
    RuntimeBackend("fp16", "ONNX Runtime, fp16", "fp16"),
    RuntimeBackend("int8", "ONNX Runtime, int8", "int8"),
    OpenVinoBackend("openvino-fp32", "OpenVINO, fp32", "fp32"),
    OpenVinoBackend("openvino-bf16", "OpenVINO, bf16", "fp32", computes="bf16"),
    OpenVinoBackend("openvino-int8", "OpenVINO, int8", "int8"),
    TorchBackend("cuda-eager", "torch eager on CUDA, fp32", device="cuda"),
    TorchBackend(
        "cuda-torch-fp16",
        "torch eager on CUDA, fp16, channels last",
        dtype="float16",
        device="cuda",
    ),
    TorchBackend(
        "cuda-compile-fp16",
        "torch.compile on CUDA, fp16, channels last",
        dtype="float16",
        compiled=True,
        device="cuda",
    ),
    RuntimeBackend("cuda-fp32", "ONNX Runtime on CUDA, fp32, CUDA graph", "fp32", device="cuda"),
    RuntimeBackend("cuda-fp16", "ONNX Runtime on CUDA, fp16, CUDA graph", "fp16", device="cuda"),
    RuntimeBackend(
        "cuda-fp16-no-graph",
        "ONNX Runtime on CUDA, fp16, no CUDA graph",
        "fp16",
        device="cuda",
        graph=False,
    ),
    RuntimeBackend(
        "tensorrt-fp16", "ONNX Runtime with TensorRT, fp16, CUDA graph", "fp16", device="tensorrt"
    ),
    TensorRTBackend("tensorrt-engine-fp16", "TensorRT engine, fp16", "fp16 TensorRT engine"),
    TensorRTBackend(
        "tensorrt-engine-int8", "TensorRT engine, int8", "int8-tensorrt TensorRT engine"
    ),
)
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
