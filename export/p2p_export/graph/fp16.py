"""Half precision, layer by layer: what would overflow stays in float32."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .pixel_generator import PixelGenerator

__all__ = ["InDtype", "PeakRange", "halve", "peak_ranges"]

FP16_LARGEST = 65504.0
SAFE_SHARE = 0.25
"""Frames of the device may drive a layer further than the frames that were measured."""

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakRange:
    """The greatest absolute value that a layer read, holds or wrote."""

    layer: str
    peak: float

    @property
    def fits_fp16(self) -> bool:
        """Whether float16 holds the value with room to spare; false for NaN and infinity."""
        return self.peak <= SAFE_SHARE * FP16_LARGEST


class InDtype(nn.Module):
    """A layer that computes in a dtype of its own, whatever its input's."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Cast, then call the layer."""
        result: torch.Tensor = self.layer(signal.to(self.dtype))
        return result


def halve(module: PixelGenerator, keep: frozenset[str] = frozenset()) -> PixelGenerator:
    """Return a copy whose convolutions compute in float16, pixels outside as before.

    InstanceNorm stays in float32: it sums squares over a whole image, which float16 cannot hold.

    Args:
        module: with BatchNorm folded, in float32: folded afterwards it would round twice.
        keep: names of convolutions that stay in float32, as in ``module.named_modules()``.
    """
    halved = copy.deepcopy(module)
    for name, layer in list(halved.named_modules()):
        if isinstance(layer, _WEIGHTED):
            dtype = torch.float32 if name in keep else torch.float16
        elif isinstance(layer, nn.InstanceNorm2d):
            dtype = torch.float32
        else:
            continue
        parent, _, attribute = name.rpartition(".")
        setattr(halved.get_submodule(parent), attribute, InDtype(layer, dtype))
    return halved


@torch.inference_mode()
def peak_ranges(module: PixelGenerator, frames: NDArray[np.uint8]) -> list[PeakRange]:
    """Run frames through a module and note each convolution's greatest value.

    Args:
        module: in float32.
        frames: (N, H, W, 3) uint8 BGR.
    """
    layers = {name: sub for name, sub in module.named_modules() if isinstance(sub, _WEIGHTED)}
    peaks = {name: _peak(*layer.parameters()) for name, layer in layers.items()}

    def watch(name: str) -> Any:
        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            peaks[name] = torch.stack([peaks[name], _peak(*inputs, output)]).amax()  # keeps NaN

        return note

    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    try:
        for frame in frames:
            module(torch.from_numpy(frame[None]))
    finally:
        for handle in handles:
            handle.remove()
    return [PeakRange(layer=name, peak=float(peak)) for name, peak in peaks.items()]


def _peak(*tensors: torch.Tensor) -> torch.Tensor:
    return torch.stack([tensor.abs().amax() for tensor in tensors]).amax()
