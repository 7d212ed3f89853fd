"""One generator, three graphs: fp32, fp16, int8. BatchNorm is folded first, always in float32."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_export.reference import Reference, measure

from .fp16 import halve, peak_ranges
from .int8 import PROFILES, Quantiser
from .integer_ends import integer_form
from .pixel_generator import PixelGenerator, folded_generator
from .tracing import to_onnx

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["Graph", "float32_layers", "fp16_graph", "fp32_graph", "int8_graph"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A serialised ONNX model without metadata, and what was done to it, one sentence a note."""

    content: bytes
    notes: tuple[str, ...] = ()


def fp32_graph(generator: nn.Module, reference: Reference) -> Graph:
    """Return the generator as it was trained, folded."""
    return Graph(content=to_onnx(folded_generator(generator), reference.contract))


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


def int8_graph(
    generator: nn.Module,
    reference: Reference,
    calibration: NDArray[np.uint8],
    profile: str,
    scratch: Path,
) -> Graph:
    """Return the generator in int8.

    Args:
        generator: a U-Net as it was trained.
        reference: what the graph is compared with while layers return to float.
        calibration: inputs, (N, H, W, 3) uint8 BGR.
        profile: a key of :data:`.PROFILES`.
        scratch: folder for temporary files.
    """
    module = integer_form(generator, calibration, uint8_ends=PROFILES[profile].uint8_ends)
    float_graph = to_onnx(module, reference.contract)
    quantiser = Quantiser(float_graph, calibration, PROFILES[profile], scratch)
    content, float_layers = quantiser.search(
        lambda graph: measure(graph, reference, "int8", scratch).report
    )
    notes = (f"profile {profile}", *(f"{layer} stays in float" for layer in float_layers))
    return Graph(content=content, notes=notes)
