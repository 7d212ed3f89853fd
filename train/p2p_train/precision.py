"""Which arithmetic a step uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from .config import Precision

__all__ = ["DTYPES", "PrecisionWish", "autocast", "choose_precision", "has_bf16", "stop_learning"]

logger = logging.getLogger(__name__)

PrecisionWish = Precision | Literal["auto"]

BF16_CAPABILITIES = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}
"""What torch calls bfloat16 arithmetic on x86 and ARM CPUs."""

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def choose_precision(wish: PrecisionWish, device: torch.device) -> Precision:
    """Return the precision to train in.

    Args:
        wish: a precision, or ``auto`` for bf16 where the device multiplies in it, else fp32.
        device: where the networks will be.
    """
    if wish == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if wish == "bf16" and not has_bf16(device):
        logger.warning(
            "%s has no bf16 arithmetic: it is emulated, and slower than fp32; see --precision auto",
            "this CPU" if device.type == "cpu" else "this GPU",
        )
    return wish


def has_bf16(device: torch.device) -> bool:
    """Say whether the device multiplies in bfloat16 itself.

    torch accepts bf16 on any device. On a CPU without it (AVX-512 without its bf16 extension), a
    training step at width 32 took 1.8 times as long as in fp32.
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


def stop_learning(network: nn.Module, device: torch.device, precision: Precision) -> None:
    """Make a network ready to answer only, in eval mode on ``device`` and without gradients.

    Its convolutions are kept in the type in which autocast would run them: otherwise it would
    convert all of them again at every step.
    """
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(DTYPES[precision])
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's
