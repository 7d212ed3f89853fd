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
    TorchBackend(name=EAGER, what="torch eager, fp32"),
    TorchBackend(name="torch-bf16", what="torch eager, bf16, channels last", dtype="bfloat16"),
    TorchBackend(name="torch-fp16", what="torch eager, fp16, channels last", dtype="float16"),
    TorchBackend(name="compile", what="torch.compile, fp32", compiled=True),
    TorchBackend(
        name="compile-bf16",
        what="torch.compile, bf16, channels last",
        dtype="bfloat16",
        compiled=True,
    ),
    RuntimeBackend(name="fp32", what="ONNX Runtime, fp32", needs="fp32"),
    RuntimeBackend(name="fp16", what="ONNX Runtime, fp16", needs="fp16"),
    RuntimeBackend(name="int8", what="ONNX Runtime, int8", needs="int8"),
    OpenVinoBackend(name="openvino-fp32", what="OpenVINO, fp32", needs="fp32"),
    OpenVinoBackend(name="openvino-bf16", what="OpenVINO, bf16", needs="fp32", computes="bf16"),
    OpenVinoBackend(name="openvino-int8", what="OpenVINO, int8", needs="int8"),
    TorchBackend(name="cuda-eager", what="torch eager on CUDA, fp32", device="cuda"),
    TorchBackend(
        name="cuda-torch-fp16",
        what="torch eager on CUDA, fp16, channels last",
        dtype="float16",
        device="cuda",
    ),
    TorchBackend(
        name="cuda-compile-fp16",
        what="torch.compile on CUDA, fp16, channels last",
        dtype="float16",
        compiled=True,
        device="cuda",
    ),
    RuntimeBackend(
        name="cuda-fp32",
        what="ONNX Runtime on CUDA, fp32, CUDA graph",
        needs="fp32",
        device="cuda",
    ),
    RuntimeBackend(
        name="cuda-fp16",
        what="ONNX Runtime on CUDA, fp16, CUDA graph",
        needs="fp16",
        device="cuda",
    ),
    RuntimeBackend(
        name="cuda-fp16-no-graph",
        what="ONNX Runtime on CUDA, fp16, no CUDA graph",
        needs="fp16",
        device="cuda",
        graph=False,
    ),
    RuntimeBackend(
        name="tensorrt-fp16",
        what="ONNX Runtime with TensorRT, fp16, CUDA graph",
        needs="fp16",
        device="tensorrt",
    ),
    TensorRTBackend(
        name="tensorrt-engine-fp16", what="TensorRT engine, fp16", needs="fp16 TensorRT engine"
    ),
    TensorRTBackend(
        name="tensorrt-engine-int8",
        what="TensorRT engine, int8",
        needs="int8-tensorrt TensorRT engine",
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
