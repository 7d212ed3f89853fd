"""One generator, three graphs: fp32, fp16, int8. BatchNorm is folded first, always in fp32."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2p_export.targets.bundle import Reference, measure
from p2p_export.targets.onnx import to_onnx

from .fp16 import halve, peak_ranges
from .int8 import PROFILES, Quantiser
from .integer_ends import for_integers
from .pixel_generator import PixelGenerator, fold, swap_channels

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from p2p_export.parity import ParityReport

__all__ = ["Graph", "fp16_graph", "fp32_graph", "int8_graph", "kept_in_float32"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A serialised ONNX model without metadata, and what was done to it, in sentences."""

    content: bytes
    notes: tuple[str, ...] = ()


def fp32_graph(generator: nn.Module, reference: Reference) -> Graph:
    """Return the generator as it was trained, folded."""
    return Graph(content=to_onnx(_folded(generator), reference.contract))


def fp16_graph(generator: nn.Module, reference: Reference) -> Graph:
    """Return the generator in half precision; layers that come near its limit stay in float32."""
    folded = _folded(generator)
    names, notes = kept_in_float32(folded, reference.frames)
    return Graph(content=to_onnx(halve(folded, names), reference.contract), notes=notes)


def kept_in_float32(
    module: PixelGenerator, frames: NDArray[np.uint8]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the layers that float16 might not hold, and a sentence for each.

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
    """Return the generator in integers.

    Args:
        generator: as it was trained.
        reference: what the graph is measured against while layers are put back to float.
        calibration: inputs, (N, H, W, 3) uint8 BGR.
        profile: a key of :data:`p2p_export.graph.int8.PROFILES`.
        scratch: a folder for temporary files.
    """
    module = for_integers(generator, calibration, whole=PROFILES[profile].whole)
    float_graph = to_onnx(module, reference.contract)
    quantiser = Quantiser(float_graph, calibration, PROFILES[profile], scratch)

    def judge(graph: bytes) -> ParityReport:
        return measure(graph, reference, "int8", scratch)

    content, floating = quantiser.search(judge)
    notes = (f"profile {profile}", *(f"{layer} stays in float" for layer in floating))
    return Graph(content=content, notes=notes)


def _folded(generator: nn.Module) -> PixelGenerator:
    return PixelGenerator(swap_channels(fold(generator)), order="bgr")
