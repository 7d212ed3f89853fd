"""Find the device to train on: what was asked for, or an error that says what there is."""

from __future__ import annotations

import os
import platform

import torch

from p2p_runtime.errors import DeviceUnavailableError
from p2p_runtime.memory import peak_rss_mib

__all__ = ["describe_device", "find_device", "peak_memory_mib"]


def find_device(name: str) -> torch.device:
    """Return the device that ``name`` asks for.

    Args:
        name: ``auto`` (a GPU if there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceUnavailableError: it is not there; the message lists what is.
    """
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"  # torchrun: a GPU for each process
    if name not in ("cpu", *gpus):
        raise DeviceUnavailableError(
            f"device {name!r} is not available; here are: {', '.join(['cpu', *gpus])}"
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Return a few words about the device, for the log."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} threads)"


def peak_memory_mib(device: torch.device | None = None) -> float:
    """Return the most memory used so far: CUDA allocations, or this process's resident size."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_rss_mib()
