"""Where networks compute and in which arithmetic: fp32, or autocast to bf16 or fp16."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping

import torch
from torch import nn

from p2p_runtime.cpus import usable_cpus
from p2p_runtime.errors import DeviceUnavailableError
from p2p_runtime.memory import free_bytes, peak_rss_mib

from .config import Precision, PrecisionChoice

__all__ = [
    "autocast", "choose_precision", "describe_device", "find_device", "free_memory_bytes", "freeze",
    "peak_memory_mib",
]  # fmt: skip

logger = logging.getLogger(__name__)

BF16_CAPABILITIES = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}
"""Torch's names of bfloat16 arithmetic on x86 and ARM CPUs."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def find_device(name: str) -> torch.device:
    """Return the device of ``auto`` (a GPU, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        DeviceUnavailableError: it is not there; the message lists what is.
    """
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    # torch counts cores, and a container may have a share of them only
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
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
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} of {usable_cpus()} threads)"


def peak_memory_mib(device: torch.device | None = None) -> float:
    """Return the most memory used so far: CUDA allocations, or this process's resident size."""
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_rss_mib()


def free_memory_bytes(device: torch.device) -> int | None:
    """Return what this process can still take on a device; None if nothing tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_bytes()


def choose_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """Return the precision to train in; ``auto`` is bf16 where the device has it, else fp32."""
    if choice == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if choice == "bf16" and not _has_bf16(device):
        logger.warning(
            "%s has no bf16 arithmetic: it is emulated, and slower than fp32; see --precision auto",
            "this CPU" if device.type == "cpu" else "this GPU",
        )
    return choice


def _has_bf16(device: torch.device) -> bool:
    """Say whether the device multiplies in bfloat16 itself; torch accepts it on any device.

    On a CPU without it, a training step at width 32 took 1.8 times as long as in fp32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Younger than the oldest torch that is admitted, where bf16 has to be asked for by name.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(map(capabilities.get, BF16_CAPABILITIES))


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which networks run; it does nothing in fp32."""
    enabled = precision != "fp32"
    dtype = DTYPES[precision] if enabled else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=enabled)


def freeze(network: nn.Module, device: torch.device, precision: Precision) -> None:
    """Fix a network's weights, in eval mode on ``device`` and without gradients of its own.

    Its convolutions are kept in the type in which autocast would run them: otherwise it would
    convert all of them again at every step.
    """
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(DTYPES[precision])
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's
