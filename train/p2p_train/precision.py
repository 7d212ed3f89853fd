"""The arithmetic of a training step: fp32, or autocast to bf16 or fp16."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import nn

from .config import Precision, PrecisionChoice

__all__ = ["DTYPES", "autocast", "choose_precision", "freeze", "has_bf16"]

logger = logging.getLogger(__name__)

BF16_CAPABILITIES = {"avx512_bf16", "amx_bf16", "bf16", "sve_bf16"}
"""Torch's names of bfloat16 arithmetic on x86 and ARM CPUs."""

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def choose_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """Return the precision to train in.

    Args:
        choice: a precision, or ``auto`` for bf16 where the device multiplies in it, else fp32.
        device: where the networks will be.
    """
    if choice == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if choice == "bf16" and not has_bf16(device):
        logger.warning(
            "%s has no bf16 arithmetic: it is emulated, and slower than fp32; see --precision auto",
            "this CPU" if device.type == "cpu" else "this GPU",
        )
    return choice


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
