"""What a bundle says of itself, and what its graph costs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from p2p_runtime.model.bundle import BundleInfo, ModelBundle

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GraphCost", "cost_of", "describe"]

_WEIGHTED = ("Conv", "ConvTranspose")


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphCost:
    """The size of a graph.

    Attributes:
        operators: how often each occurs.
        parameters: weights and biases of its convolutions.
        macs: multiply-accumulate operations for one frame. A transposed convolution's kernel is
            applied once per *input* pixel, so that is what is counted; counting its output pixels
            would be four times too much at stride 2.
    """

    operators: dict[str, int]
    parameters: int
    macs: int


def cost_of(model: onnx.ModelProto) -> GraphCost:
    """Count operators, parameters and multiplications."""
    shapes = _shapes(model)
    parameters = macs = 0
    for node in model.graph.node:
        if node.op_type not in _WEIGHTED:
            continue
        weight = math.prod(shapes[node.input[1]])
        parameters += sum(math.prod(shapes[name]) for name in node.input[1:] if name)
        image = node.output[0] if node.op_type == "Conv" else node.input[0]
        macs += weight * math.prod(shapes[image][2:])  # (N, C, H, W)
    operators = Counter(node.op_type for node in model.graph.node)
    return GraphCost(operators=dict(operators.most_common()), parameters=parameters, macs=macs)


def describe(path: Path) -> str:
    """Return a bundle's contract, graph, provenance and parity as text for people.

    Raises:
        BundleError: it is not a sound bundle.
    """
    bundle = ModelBundle.load(path)
    cost = cost_of(onnx.load(path, load_external_data=False))
    rows = [
        ("file", f"{path}, {path.stat().st_size / 1e6:.1f} MB, {bundle.precision}"),
        *_contract_rows(bundle.info),
        ("graph", ", ".join(f"{count} {name}" for name, count in cost.operators.items())),
        ("size", f"{cost.parameters / 1e6:.2f} M parameters, {cost.macs / 1e9:.2f} GMAC a frame"),
        *_mapping_rows("generator", bundle.info.generator),
        *_mapping_rows("provenance", bundle.info.provenance),
        *_mapping_rows("parity", bundle.info.parity),
        ("payload", f"sha256 {bundle.info.payload_sha256}"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _contract_rows(info: BundleInfo) -> list[tuple[str, str]]:
    contract = info.contract
    palette = contract.palette
    labels = (
        f"label maps, palette {palette.name} ({len(palette.classes)} classes)"
        if palette
        else "pictures, no palette"
    )
    rows = [
        ("input", f"{contract.height}x{contract.width} px, {labels}"),
        ("direction", contract.direction),
    ]
    if palette and contract.classes_present:
        rows.append(
            ("classes in use", ", ".join(palette.classes[k] for k in contract.classes_present))
        )
    return rows


def _mapping_rows(title: str, values: dict[str, object]) -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        elif isinstance(value, list):
            value = "; ".join(map(str, value)) or "none"
        rows.append((f"{title}.{key}", str(value)))
    return rows


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every value; 1 for the batch and whatever else is open."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in dims)
    return shapes
