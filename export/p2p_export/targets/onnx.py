"""From a torch module to the bytes of one ONNX file.

The bytes are a function of the module alone: no path, name or time of the exporting machine goes
in, and exporting twice gives the same file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from p2p_runtime import __version__
from p2p_runtime.errors import ExportError
from p2p_runtime.model.bundle import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, BundleInfo
from p2p_runtime.model.contract import PixelContract

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MAX_BATCH", "NEWEST_IR", "OPSET", "attach", "clean", "to_onnx"]

OPSET = 20
NEWEST_IR = 10
"""The pair that ONNX Runtime 1.18 and TensorRT 10.3 (JetPack 6) read; newer ones shut them out."""

MAX_BATCH = 8
MAX_BYTES = (1 << 31) - 1
"""A protobuf message cannot be larger, and a bundle is one file."""


def to_onnx(module: nn.Module, contract: PixelContract) -> bytes:
    """Trace a module from pixels to pixels at the contract's size, with a batch of 1 to 8.

    Returns:
        A serialised ONNX model, input ``frame`` and output ``image``, both (N, H, W, 3) uint8 BGR.

    Raises:
        ExportError: the graph is not one that the supported runtimes read.
    """
    # Traced with two frames: torch.export takes a batch of one for a constant.
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
    assert program is not None, "torch.onnx.export writes no file here, so it returns the program"
    return clean(onnx_ir.to_proto(program.model))


def clean(model: onnx.ModelProto) -> bytes:
    """Take everything out of a model that does not compute, and serialise it.

    The exporter notes source files and lines of the exporting machine beside each node.

    Raises:
        ExportError: the graph is not one that the supported runtimes read.
    """
    graph = onnx_ir.from_proto(model)
    ClearMetadataAndDocStringPass()(graph)
    results = (value for node in graph.graph for value in node.outputs)
    for value in (*graph.graph.inputs, *graph.graph.initializers.values(), *results):
        # The pass above clears nodes and graphs alone.
        value.metadata_props.clear()
        value.doc_string = None
    graph.metadata_props.clear()
    graph.producer_name, graph.producer_version = "p2p-export", __version__
    cleaned = onnx_ir.to_proto(graph)
    _check(cleaned)
    return bytes(cleaned.SerializeToString(deterministic=True))


def attach(graph: bytes, info: BundleInfo) -> bytes:
    """Return the model ``graph`` with ``info`` as its only metadata."""
    model = onnx.load_model_from_string(graph)
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    return bytes(model.SerializeToString(deterministic=True))


def _check(model: onnx.ModelProto) -> None:
    opset = max(imported.version for imported in model.opset_import if imported.domain == "")
    if opset > OPSET or model.ir_version > NEWEST_IR:
        raise ExportError(
            f"the exporter made opset {opset}, IR {model.ir_version}; "
            f"devices read up to opset {OPSET}, IR {NEWEST_IR}"
        )
    if model.ByteSize() > MAX_BYTES:
        raise ExportError(
            f"the model takes {model.ByteSize() / 2**30:.1f} GiB; one file holds 2 GiB at most"
        )
    onnx.checker.check_model(model)
