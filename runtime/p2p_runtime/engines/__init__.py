"""Engines: what runs a generator, each behind the same two methods."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from p2p_runtime.errors import MissingExtraError

from .base import Engine

if TYPE_CHECKING:
    from p2p_runtime.bundle import ModelBundle

__all__ = ["DEVICES", "Engine", "open_engine", "resolve_device"]

DEVICES = ("auto", "cpu", "cuda")

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
        device: ``cpu``, ``cuda``, or ``auto`` for cuda where onnxruntime offers it, else cpu.
        threads: CPU threads; None for all cores.
        spinning: see :class:`p2p_runtime.engines.ort.OrtEngine`.

    Raises:
        DeviceUnavailableError: the device is not there; the message lists what is.
        BundleError: the file cannot be loaded or breaks its contract.
        MissingExtraError: onnxruntime is not installed.
    """
    device = resolve_device(device)
    from .ort import OrtEngine

    return OrtEngine(bundle, device=device, threads=threads, spinning=spinning)


def resolve_device(device: str) -> str:
    """Turn ``auto`` into the best device that onnxruntime offers, and say so.

    Raises:
        DeviceUnavailableError: another device is not there; the message lists what is.
        MissingExtraError: onnxruntime is not installed.
    """
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
