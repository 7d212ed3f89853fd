"""Engines: each runs the generator with one library, behind one protocol."""

from __future__ import annotations

import logging
from pathlib import Path

from p2p_runtime.errors import DeviceUnavailableError, MissingExtraError
from p2p_runtime.model.bundle import ModelBundle

from .base import Engine, ServerOptions, UninterruptibleEngine, is_server

__all__ = ["Engine", "ServerOptions", "UninterruptibleEngine", "open_engine", "resolve_device"]

_log = logging.getLogger(__name__)


def open_engine(
    bundle: ModelBundle,
    device: str,
    threads: int | None = None,
    allow_spinning: bool = True,
    server: ServerOptions | None = None,
) -> Engine:
    """Open a checked model file on ``cpu``, ``cuda``, ``tensorrt`` or at a server's address.

    For ``threads`` and ``allow_spinning``, see :class:`p2p_runtime.engines.ort.OrtEngine`.

    Raises:
        DeviceUnavailableError: the device is not there, or cannot run all of the model.
        BundleError: the file cannot be loaded or breaks its contract.
    """
    if is_server(device):
        from .oip import OipEngine

        return OipEngine(bundle, device, server or ServerOptions())
    if bundle.engine_path is not None:
        from .tensorrt import TensorRTEngine

        return TensorRTEngine(bundle, bundle.engine_path)
    if device == "cpu":
        from .ort import OrtEngine

        return OrtEngine(bundle, threads=threads, allow_spinning=allow_spinning)
    from .ort_gpu import OrtGpuEngine

    return OrtGpuEngine(bundle, device=device)


def resolve_device(device: str, *, engine_path: Path | None = None) -> str:
    """Return ``cpu``, ``cuda``, ``tensorrt`` or a server's address.

    ``auto`` becomes cuda where onnxruntime offers it, else cpu; TensorRT takes minutes, so it has
    to be named. A TensorRT engine needs no onnxruntime.

    Raises:
        DeviceUnavailableError: another device is not there; the message lists what is.
        MissingExtraError: onnxruntime is not installed.
    """
    if is_server(device):
        return device
    if engine_path is not None:
        if device not in ("auto", "tensorrt"):
            raise DeviceUnavailableError(
                f"{engine_path} is a TensorRT engine and does not run on {device}; "
                "name the .onnx file"
            )
        return "tensorrt"
    try:
        from .ort import available_devices, check_device
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise MissingExtraError(
            "onnxruntime is not installed; type: "
            'pip install "pix2pix-edge[cpu]" (or [gpu] for CUDA)'
        ) from error
    if device != "auto":
        check_device(device)
        return device
    devices = available_devices()
    device = "cuda" if "cuda" in devices else "cpu"
    _log.info("device: %s (onnxruntime offers %s)", device, ", ".join(devices))
    return device
