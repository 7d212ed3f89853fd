"""Engines: what runs a generator, each behind the same two methods."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from p2p_runtime.errors import DeviceUnavailableError, MissingExtraError

from .base import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from p2p_runtime.model.bundle import ModelBundle

__all__ = ["DEVICES", "Engine", "open_engine", "resolve_device"]

DEVICES = ("auto", "cpu", "cuda", "tensorrt")

_log = logging.getLogger(__name__)


def open_engine(
    bundle: ModelBundle,
    device: str = "auto",
    threads: int | None = None,
    spinning: bool = True,
) -> Engine:
    """Open a bundle on a device.

    Args:
        bundle: the checked model file.
        device: ``cpu``, ``cuda``, ``tensorrt``, or ``auto``: see :func:`resolve_device`.
        threads: CPU threads; None for all cores.
        spinning: see :class:`p2p_runtime.engines.ort.OrtEngine`.

    Raises:
        DeviceUnavailableError: the device is not there, or cannot run all of the model.
        BundleError: the file cannot be loaded or breaks its contract.
        MissingExtraError: onnxruntime is not installed.
    """
    device = resolve_device(device, engine_path=bundle.engine_path)
    if bundle.engine_path is not None:
        from .tensorrt import TensorRTEngine

        return TensorRTEngine(bundle, bundle.engine_path)
    if device == "cpu":
        from .ort import OrtEngine

        return OrtEngine(bundle, threads=threads, spinning=spinning)
    from .ort_gpu import OrtGpuEngine

    return OrtGpuEngine(bundle, device=device)


def resolve_device(device: str, *, engine_path: Path | None = None) -> str:
    """Turn ``auto`` into the best device that there is, and say so.

    Args:
        device: one of :data:`DEVICES`. ``auto`` is cuda where onnxruntime offers it, else cpu;
            TensorRT, which may take minutes to start, is only taken by name.
        engine_path: a TensorRT engine that is to run; it needs no onnxruntime.

    Raises:
        DeviceUnavailableError: another device is not there; the message lists what is.
        MissingExtraError: onnxruntime is not installed.
    """
    if engine_path is not None:
        if device not in ("auto", "tensorrt"):
            raise DeviceUnavailableError(
                f"{engine_path} is a TensorRT engine and does not run on {device}; "
                "name the .onnx file"
            )
        return "tensorrt"
    try:
        from .session import available_devices, check_device
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
