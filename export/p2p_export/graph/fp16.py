"""Half precision, layer by layer: layers that could overflow stay in float32."""

from __future__ import annotations

import copy
import logging
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from p2p_export.parity import Reference

from .pixel_generator import PixelGenerator, folded_generator
from .tracing import Graph, to_onnx

__all__ = ["InDtype", "fits_fp16", "float32_layers", "fp16_graph", "halve", "peak_values"]

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
    """Return the convolutions that might overflow float16, and a sentence for each.

    ``module`` computes in float32; ``frames`` are (N, H, W, 3) uint8 BGR.
    """
    kept = {name: peak for name, peak in peak_values(module, frames).items() if not fits_fp16(peak)}
    notes = tuple(f"{name} stays in float32: it reaches {peak:.3g}" for name, peak in kept.items())
    for note in notes:
        _log.warning("fp16: %s", note)
    return frozenset(kept), notes


def fits_fp16(peak: float) -> bool:
    """Return whether float16 holds a value with a margin; false for NaN and infinity."""
    return peak <= SAFE_SHARE * torch.finfo(torch.float16).max


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

    InstanceNorm stays in float32: it sums squares over a whole image, which overflows float16. So
    do the convolutions that ``keep`` names. BatchNorm is folded before, or it would round twice.
    """
    halved = copy.deepcopy(module)
    for name, layer in list(halved.named_modules()):
        in_float32 = name in keep or isinstance(layer, nn.InstanceNorm2d)
        if in_float32 or isinstance(layer, _WEIGHTED):
            # The wrapper casts its input, so that layers of both dtypes can follow each other.
            wrapped = InDtype(layer, torch.float32 if in_float32 else torch.float16)
            halved.set_submodule(name, wrapped)
    return halved


@torch.inference_mode()
def peak_values(module: PixelGenerator, frames: NDArray[np.uint8]) -> dict[str, float]:
    """Return each convolution's largest absolute value among inputs, weights and outputs.

    Arguments as for :func:`float32_layers`.
    """
    layers = {name: sub for name, sub in module.named_modules() if isinstance(sub, _WEIGHTED)}
    peaks = {name: _peak(*layer.parameters()) for name, layer in layers.items()}

    def record(name: str, _: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        peaks[name] = _peak(peaks[name], *inputs, output)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(partial(record, name)))
        for frame in frames:  # one at a time, as on the device
            module(torch.from_numpy(frame[None]))
    return {name: float(peak) for name, peak in peaks.items()}


def _peak(*tensors: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value, NaN if there is one."""
    return torch.stack([tensor.abs().amax() for tensor in tensors]).amax()
