"""Half precision, layer by layer: layers that could overflow stay in float32."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_export.reference import Reference

from .pixel_generator import PixelGenerator, folded_generator
from .tracing import Graph, to_onnx

__all__ = ["InDtype", "PeakRange", "float32_layers", "fp16_graph", "halve", "peak_ranges"]

FP16_MAX = 65504.0
"""Largest finite float16."""

SAFE_SHARE = 0.25
"""Share of the float16 range that measured frames may use; frames on the device may exceed them."""

_log = logging.getLogger(__name__)

_WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d)


def fp16_graph(generator: nn.Module, reference: Reference) -> Graph:
    """Return the generator in half precision; layers near the float16 limit stay in float32."""
    folded = folded_generator(generator)
    names, notes = float32_layers(folded, reference.frames)
    return Graph(content=to_onnx(halve(folded, names), reference.contract), notes=notes)


def float32_layers(
    module: PixelGenerator, frames: NDArray[np.uint8]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the layers that might overflow float16, and a sentence for each.

    Args:
        module: in float32.
        frames: (N, H, W, 3) uint8 BGR.
    """
    kept = [layer for layer in peak_ranges(module, frames) if not layer.fits_fp16]
    notes = tuple(f"{layer.layer} stays in float32: it reaches {layer.peak:.3g}" for layer in kept)
    for note in notes:
        _log.warning("fp16: %s", note)
    return frozenset(layer.layer for layer in kept), notes


@dataclass(frozen=True, kw_only=True, slots=True)
class PeakRange:
    """The largest absolute value among a layer's inputs, weights and outputs."""

    layer: str
    peak: float

    @property
    def fits_fp16(self) -> bool:
        """Whether float16 holds the value with a margin; false for NaN and infinity."""
        return self.peak <= SAFE_SHARE * FP16_MAX


class InDtype(nn.Module):
    """A layer that computes in a fixed dtype, whatever the dtype of its input."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer.to(dtype)
        self.dtype = dtype

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Cast, then call the layer."""
        result: torch.Tensor = self.layer(signal.to(self.dtype))
        return result


def halve(module: PixelGenerator, keep: frozenset[str] = frozenset()) -> PixelGenerator:
    """Return a copy whose convolutions compute in float16; input and output stay uint8.

    InstanceNorm stays in float32: it sums squares over a whole image, which overflows float16.

    Args:
        module: in float32, with BatchNorm folded; folding afterwards would round twice.
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
    """Run frames through a module and record each convolution's largest absolute value.

    Args:
        module: in float32.
        frames: (N, H, W, 3) uint8 BGR.
    """
    layers = {name: sub for name, sub in module.named_modules() if isinstance(sub, _WEIGHTED)}
    peaks = {name: _peak(*layer.parameters()) for name, layer in layers.items()}

    def hook_for(name: str) -> Any:
        def record(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            peaks[name] = torch.stack([peaks[name], _peak(*inputs, output)]).amax()  # keeps NaN

        return record

    handles = [layer.register_forward_hook(hook_for(name)) for name, layer in layers.items()]
    try:
        for frame in frames:  # one at a time, as on the device
            module(torch.from_numpy(frame[None]))
    finally:
        for handle in handles:
            handle.remove()
    return [PeakRange(layer=name, peak=float(peak)) for name, peak in peaks.items()]


def _peak(*tensors: torch.Tensor) -> torch.Tensor:
    return torch.stack([tensor.abs().amax() for tensor in tensors]).amax()
