"""Eight bits: ranges from real inputs, integer convolutions, and a search for layers to exempt.

Graphs are in QDQ form: QuantizeLinear and DequantizeLinear mark what integers represent, and the
runtime fuses them with the operators between. Weights are signed with one scale per output channel.
Activations have one scale per tensor, from their minimum and maximum over the calibration frames.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import add_infer_metadata
from torch import nn

from p2p_export.parity import ParityReport, Reference, measure
from p2p_runtime.files import scratch_folder, write_bytes
from p2p_runtime.model.bundle import INPUT_NAME

from .integer_ends import Dequantise, integer_form
from .tracing import Graph, clean, to_onnx

__all__ = ["PROFILES", "Quantiser", "int8_graph"]

FRAMES_AT_ONCE = 10
"""Frames between two updates of a histogram, which holds all activations until then."""

MAX_FLOAT_LAYERS = 8
"""Maximum number of layers that the search returns to float."""

SHAPES_BYTES = 1 << 20
"""Room for the shapes that calibration adds to a graph."""

SATURATED = np.float32(5.13)
"""Sigmoid input beyond which pixels are within 1.5 levels of 0 or 255: log(169)."""

OPERATORS = ["Conv", "LeakyRelu", "Relu", "Concat"]
"""Operators that are quantised in every graph."""

MOVES = {"Reshape", "Slice", "Transpose"}
"""Operators that move values and change none."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8Profile:
    """What the integer kernels of a target need.

    Attributes:
        reduce_range: weights of seven bits.
        uint8_ends: integers from input to output, see :class:`.IntegerGenerator`. Pixels are
            unsigned, so activations must be, too; TensorRT wants a Cast at either end.
        options: extra options of ONNX Runtime's quantiser.
    """

    activations: QuantType
    reduce_range: bool = False
    uint8_ends: bool = False
    options: dict[str, Any] = field(default_factory=dict)


PROFILES = {
    "x86": Int8Profile(activations=QuantType.QUInt8, uint8_ends=True),
    # Without VNNI, two 8x8-bit products are added in 16 bits, which can overflow.
    "x86-avx2": Int8Profile(activations=QuantType.QUInt8, reduce_range=True, uint8_ends=True),
    # With zero points, a ReLU is the lower end of its convolution's range: one kernel for both.
    "arm": Int8Profile(activations=QuantType.QInt8),
    # TensorRT's parser takes neither zero points nor integer biases.
    "tensorrt": Int8Profile(
        activations=QuantType.QInt8,
        options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    ),
}
"""Targets of ``--int8-profile``."""


def int8_graph(
    generator: nn.Module,
    reference: Reference,
    calibration: NDArray[np.uint8],
    profile: str,
    scratch: Path,
) -> Graph:
    """Return a U-Net, as it was trained, in int8 for a key of :data:`PROFILES`.

    Calibration inputs are (N, H, W, 3) uint8 BGR. The graph is compared with the reference while
    layers return to float; ``scratch`` is for temporary files.
    """
    module = integer_form(generator, calibration, uint8_ends=PROFILES[profile].uint8_ends)
    float_graph = to_onnx(module, reference.contract)
    quantiser = Quantiser(float_graph, calibration, PROFILES[profile], scratch)
    content, float_layers = quantiser.search(
        lambda graph: measure(graph, reference, "int8", scratch).report
    )
    notes = (f"profile {profile}", *(f"{layer} stays in float" for layer in float_layers))
    return Graph(content=content, notes=notes)


class Quantiser:
    """Makes int8 graphs of one float graph, see :func:`.integer_form`.

    Calibration inputs are (N, H, W, 3) uint8 BGR; ``method`` goes to ONNX Runtime's
    ``create_calibrator``, for other ranges than MinMax.

    Attributes:
        layers: name of each convolution, in graph order, to the nodes that stay in float with it.
    """

    def __init__(
        self,
        graph: bytes,
        frames: NDArray[np.uint8],
        profile: Int8Profile,
        scratch: Path,
        **method: Any,
    ) -> None:
        self._profile = profile
        self._model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(graph))
        add_infer_metadata(self._model)  # saves the quantiser a round trip through a file
        self.layers = _layers(self._model)
        ends_in_uint8 = any(node.op_type == "Sigmoid" for node in self._model.graph.node)
        self._always_float = [] if ends_in_uint8 else list(self.layers)[-1:]
        # A clip is part of the output layer's tables; without these, it follows float pixels.
        self._operators = [*OPERATORS, "Clip"] if ends_in_uint8 else OPERATORS
        # One pass over the frames serves every graph that this object makes.
        self._ranges = _ranges(graph, frames, scratch, self._operators, **method)
        self._fix_ranges()

    def quantise(self, float_layers: list[str]) -> bytes:
        """Return the int8 graph with the named layers in float.

        Without a sigmoid after it, the last convolution is always in float: its output is rounded
        to pixels, and int8 would round it more coarsely than they are.
        """
        kept = {node for name in (*self._always_float, *float_layers) for node in self.layers[name]}
        return self._quantised(without=sorted(kept))

    def quantise_only(self, layer: str) -> bytes:
        """Return the graph with one layer in int8, to measure what that layer costs."""
        return self._quantised(only=self.layers[layer])

    def search(self, measure: Callable[[bytes], ParityReport]) -> tuple[bytes, list[str]]:
        """Quantise, and return the most sensitive layers to float until the gates are passed.

        Sensitivity is the PSNR that remains when a layer alone is in int8. At most eight layers
        return, so that the graph, which comes with their names, may still miss a gate.
        """
        graph, float_layers = self.quantise([]), list[str]()
        if not (failures := measure(graph).failures()):
            return graph, float_layers
        _log.warning("int8: %s; searching for the layers that cause it", "; ".join(failures))
        candidates = [layer for layer in self.layers if layer not in self._always_float]
        psnr_db = {layer: measure(self.quantise_only(layer)).psnr_db for layer in candidates}
        for layer in sorted(candidates, key=psnr_db.__getitem__)[:MAX_FLOAT_LAYERS]:
            float_layers.append(layer)
            graph = self.quantise(float_layers)
            if not measure(graph).failures():
                break
        return graph, float_layers

    def _fix_ranges(self) -> None:
        """Set the ranges that are known without calibration.

        The first convolution reads uint8 levels as they are, so its input has the range of uint8.
        A sigmoid's input needs no values beyond those that nearly saturate the pixel. What only
        moves values keeps their range, or they would be rounded twice.
        """
        nodes = self._model.graph.node
        producers = {name: node for node in nodes for name in node.output}
        for moved in list(self._ranges.keys()):
            name = moved
            while name in producers and producers[name].op_type in MOVES:
                name = producers[name].input[0]
            if name in self._ranges:
                self._ranges[moved] = self._ranges[name]
        first = next(node.input[0] for node in nodes if node.op_type == "Conv")
        if producers[first].op_type == "DequantizeLinear":
            least, most = Dequantise()(torch.tensor([0, 255], dtype=torch.uint8)).numpy()
            self._ranges[first] = TensorData(lowest=least, highest=most)
        for name in (node.input[0] for node in nodes if node.op_type == "Sigmoid"):
            least, most = self._ranges[name].range_value
            least, most = np.maximum(least, -SATURATED), np.minimum(most, SATURATED)
            self._ranges[name] = TensorData(lowest=least, highest=most)

    def _quantised(self, *, only: Sequence[str] = (), without: Sequence[str] = ()) -> bytes:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)  # the quantiser changes its argument
        quantiser = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=self._profile.reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=self._profile.activations,
            tensors_range=self._ranges,
            nodes_to_quantize=list(only),
            nodes_to_exclude=list(without),
            op_types_to_quantize=self._operators,
            extra_options=dict(self._profile.options),
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        return clean(quantiser.model.model)


class _FrameReader(CalibrationDataReader):  # type: ignore[misc]  # has no types
    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._inputs = ({INPUT_NAME: frame[None]} for frame in frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._inputs, None)


def _ranges(
    graph: bytes, frames: NDArray[np.uint8], scratch: Path, operators: list[str], **method: Any
) -> TensorsData:
    with scratch_folder(scratch) as folder:
        model, room = folder / "float.onnx", folder / "room"
        write_bytes(model, graph)
        # The calibrator lets ONNX write the graph with shapes, and ONNX hides that a disk is full.
        write_bytes(room, bytes(len(graph) + SHAPES_BYTES))
        room.unlink()
        augmented = str(folder / "ranges.onnx")
        calibrator = create_calibrator(model, operators, augmented_model_path=augmented, **method)
        for first in range(0, len(frames), FRAMES_AT_ONCE):
            calibrator.collect_data(_FrameReader(frames[first : first + FRAMES_AT_ONCE]))
        return calibrator.compute_data()


def _layers(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Return each convolution and, if there is one, the Concat that makes its input.

    In int8, the Concat would round what the float convolution reads.
    """
    concats = {node.output[0]: node.name for node in model.graph.node if node.op_type == "Concat"}
    layers: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            concat = concats.get(node.input[0])
            layers[node.name] = (node.name, concat) if concat else (node.name,)
    return layers
