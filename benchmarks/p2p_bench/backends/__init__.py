"""The rows of the benchmark; all take (N, H, W, 3) uint8 BGR from host memory and give it back."""

from __future__ import annotations

from .base import CHECKPOINT, Backend, Files
from .ncnn_backend import NcnnBackend
from .openvino_backend import OpenVinoBackend
from .runtime_backend import PlanBackend, RuntimeBackend
from .torch_backend import TorchBackend

__all__ = ["BACKENDS", "CHECKPOINT", "EAGER", "Backend", "Files"]

EAGER = "eager"
"""The checkpoint in torch, as it was trained: what the others are compared with."""

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
    NcnnBackend(name="ncnn-fp32", what="ncnn, fp32"),
    NcnnBackend(name="ncnn-bf16", what="ncnn, bf16", bf16=True),
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
    PlanBackend(name="plan-fp16", what="TensorRT engine, fp16", needs="fp16 TensorRT engine"),
    PlanBackend(
        name="plan-int8", what="TensorRT engine, int8", needs="int8-tensorrt TensorRT engine"
    ),
)
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in _CATALOGUE}
"""Every row by the name that a user types after ``--backends``."""
