"""Text for people: what a bundle is, what its graph costs, and the table of an export."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx

from p2p_runtime.console import wrapped
from p2p_runtime.errors import count_of
from p2p_runtime.model.bundle import BundleInfo, ModelBundle

from .targets.onnx import WrittenBundle

__all__ = ["describe", "size_of", "table"]


def size_of(model: onnx.ModelProto) -> tuple[int, int]:
    """Return the parameters of a graph's convolutions and the MACs of one frame.

    Multiply-accumulate operations count per output pixel of a convolution and per *input* pixel of
    a transposed one. The rewritten layers of int8 also compute a border.
    """
    shapes = _shapes(model)
    parameters = macs = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        weight = math.prod(shapes[node.input[1]])
        parameters += sum(math.prod(shapes[name]) for name in node.input[1:] if name)
        pixels_of = node.output[0] if node.op_type == "Conv" else node.input[0]
        macs += weight * math.prod(shapes[pixels_of][2:])  # (N, C, H, W)
    return parameters, macs


def describe(path: Path) -> str:
    """Return a sound bundle's contract, graph, provenance and parity as text for people."""
    bundle = ModelBundle.load(path)
    model = onnx.load(path, load_external_data=False)
    parameters, macs = size_of(model)
    operators = Counter(node.op_type for node in model.graph.node).most_common()
    rows = [
        ("file", f"{path}, {_megabytes(path)} MB, {bundle.precision}"),
        *_contract_rows(bundle.info),
        ("graph", ", ".join(f"{count} {name}" for name, count in operators)),
        ("size", f"{parameters / 1e6:.2f} M parameters, {macs / 1e9:.2f} GMAC a frame"),
        *_mapping_rows("generator", bundle.info.generator),
        *_mapping_rows("provenance", bundle.info.provenance),
        *_mapping_rows("parity", bundle.info.parity),
        ("sha256", bundle.info.payload_sha256),
    ]
    return "\n".join(wrapped(text, f"{name:12}", " " * 12) for name, text in rows)


def table(bundles: list[WrittenBundle]) -> str:
    """Return a column of parity figures for each bundle, then a line for each engine."""
    cells = [_cells(bundle) for bundle in bundles]
    first = bundles[0]
    passed = f"all passed the parity check on {count_of(first.report.frames, 'frame')}"
    rows = [(name, *(column[name] for column in cells)) for name in cells[0]]
    lines = [wrapped(f"{first.path.parent}: {passed}"), *_aligned(rows)]
    engines = [engine for bundle in bundles for engine in bundle.engines]
    lines += [f"{path}  {_megabytes(path)} MB, built, not run" for path in engines]
    return "\n".join(lines)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _cells(bundle: WrittenBundle) -> dict[str, str]:
    report = bundle.report
    score = {}
    if report.segmentation_score is not None:  # in points, with the change against torch
        change = 100 * report.score_change["mean_iou"]
        score["mean IoU"] = f"{100 * report.segmentation_score.mean_iou:.2f} ({change:+.2f})"
    return {
        "": bundle.path.stem,
        "MB": _megabytes(bundle.path),
        "precision": report.precision,
        "max, levels": f"{report.max_levels}",
        "mean, levels": f"{report.mean_levels:.4f}",
        "within 1": f"{report.within_one:.3%}",
        "PSNR": f"{report.psnr_db:.1f} dB",
        "worst PSNR": f"{report.worst_psnr_db:.1f} dB",
        "SSIM": f"{report.ssim:.4f}",
        **score,
    }


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f}"


def _contract_rows(info: BundleInfo) -> list[tuple[str, str]]:
    contract, palette, kind = info.contract, info.contract.palette, "pictures, no palette"
    if palette:
        kind = f"label maps, palette {palette.name} ({len(palette.classes)} classes)"
    size = f"{contract.width}x{contract.height} px"
    rows = [("input", f"{size}, {kind}"), ("direction", contract.direction)]
    if palette and contract.classes_present:
        names = ", ".join(palette.classes[index] for index in contract.classes_present)
        rows.append(("classes", f"present: {names}"))
    return rows


def _mapping_rows(title: str, values: dict[str, object]) -> list[tuple[str, str]]:
    texts = [f"{key}: {_text(value)}" for key, value in values.items()]
    return [("" if index else title, text) for index, text in enumerate(texts)]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return "; ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape of every value; a dynamic dimension, the batch, counts as 1."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in dims)
    return shapes
