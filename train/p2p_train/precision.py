"""Which arithmetic a step uses."""

from __future__ import annotations

import torch

from .config import Precision

__all__ = ["DTYPES", "autocast"]

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the context in which networks run; it does nothing in fp32."""
    enabled = precision != "fp32"
    dtype = DTYPES[precision] if enabled else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=enabled)
