"""Trace a torch module into the bytes of one ONNX model.

The bytes depend on the module alone: they hold no path, name or time of the exporting machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import nn

from p2p_runtime import __version__
from p2p_runtime.errors import ExportError
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME
from p2p_runtime.model.contract import PixelContract

__all__ = ["MAX_BATCH", "MAX_IR", "OPSET", "Graph", "clean", "to_onnx"]

OPSET = 20
"""Opset of exported graphs; newest that ONNX Runtime 1.18 and TensorRT 10.3 (JetPack 6) read."""

MAX_IR = 10
"""Newest ONNX IR version that the same runtimes read."""

MAX_BATCH = 8
"""Maximum number of frames in one call of an exported model."""

MAX_BYTES = (1 << 31) - 1
"""Maximum size of a protobuf message, hence of a bundle, which is one file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """A serialised ONNX model without metadata, and what was done to it, one sentence a note."""

    content: bytes
    notes: tuple[str, ...] = ()


def to_onnx(module: nn.Module, contract: PixelContract) -> bytes:
    """Trace a module from pixels to pixels into a serialised ONNX model at the contract's size.

    Its input ``frame`` and its output ``image`` are (N, H, W, 3) uint8 BGR, N from 1 to 8.

    Raises:
        ExportError: the supported runtimes cannot read the graph.
    """
    # Two frames: torch.export would specialise a batch of one to a constant.
    example = torch.zeros(2, contract.height, contract.width, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}},
        external_data=False,
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns the program unless it writes a file"
    return clean(onnx_ir.to_proto(program.model))


def clean(model: onnx.ModelProto) -> bytes:
    """Remove everything from a model that does not compute, and serialise it.

    torch's exporter records source files and lines of the exporting machine beside each node.

    Raises:
        ExportError: the supported runtimes cannot read the graph.
    """
    graph = onnx_ir.from_proto(model)
    ClearMetadataAndDocStringPass()(graph)
    results = (value for node in graph.graph for value in node.outputs)
    for value in (*graph.graph.inputs, *graph.graph.initializers.values(), *results):
        # The pass above clears nodes and graphs only.
        value.metadata_props.clear()
        value.doc_string = None
    graph.metadata_props.clear()
    graph.producer_name, graph.producer_version = "p2p-export", __version__
    cleaned = onnx_ir.to_proto(graph)
    _check(cleaned)
    return bytes(cleaned.SerializeToString(deterministic=True))


def _check(model: onnx.ModelProto) -> None:
    opset = max(imported.version for imported in model.opset_import if imported.domain == "")
    if opset > OPSET or model.ir_version > MAX_IR:
        raise ExportError(
            f"the exporter made opset {opset}, IR {model.ir_version}; "
            f"devices read up to opset {OPSET}, IR {MAX_IR}"
        )
    if model.ByteSize() > MAX_BYTES:
        raise ExportError(
            f"the model takes {model.ByteSize() / 2**30:.1f} GiB; one file holds 2 GiB at most"
        )
    onnx.checker.check_model(model)
