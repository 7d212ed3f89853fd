"""Eight bits: ranges from real inputs, integer convolutions, and a search for what must stay float.

Weights are signed and have a scale for each output channel; activations have one scale a tensor,
taken from the least and greatest value over the calibration frames.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType
from onnxruntime.quantization.calibrate import (
    CalibrationMethod,
    TensorData,
    TensorsData,
    create_calibrator,
)
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import add_infer_metadata

from p2p_export.frames import read_inputs
from p2p_export.targets.onnx import clean
from p2p_runtime.errors import ExportError
from p2p_runtime.files import write_bytes
from p2p_runtime.model.bundle import INPUT_NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_export.parity import ParityReport
    from p2p_runtime.model.contract import PixelContract
    from p2p_train.config import TrainConfig

__all__ = ["CALIBRATIONS", "PROFILES", "Int8Profile", "Quantiser", "calibration_frames"]

CALIBRATION_FRAMES = 100
"""Measured on Cityscapes: with 50, single frames leave the ranges (28 dB); with 100, none does."""

FEWEST_CALIBRATION_FRAMES = 8
AT_ONCE = 10
MOST_IN_FLOAT = 8
SATURATED = np.float32(6.23)
"""From here on a sigmoid is within half a level of 255: log(509)."""

OPERATORS = ["Conv", "LeakyRelu", "Relu", "Concat"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8Profile:
    """What a target's integer kernels want.

    Attributes:
        activations: signed or unsigned.
        reduce_range: weights of seven bits.
        whole: integers from pixels to pixels, see
            :class:`.IntegerGenerator`. Pixels are unsigned, so activations have
            to be; and TensorRT wants a cast at either end.
        options: of onnxruntime's quantiser.
    """

    activations: QuantType
    reduce_range: bool = False
    whole: bool = False
    options: dict[str, Any] = field(default_factory=dict)


PROFILES = {
    "x86": Int8Profile(activations=QuantType.QUInt8, whole=True),
    # Without VNNI, two products are added up in 16 bits, which eight bits by eight can overflow.
    "x86-avx2": Int8Profile(activations=QuantType.QUInt8, reduce_range=True, whole=True),
    # With zero points: a ReLU is then the end of its convolution's range, and both are one kernel.
    "arm": Int8Profile(activations=QuantType.QInt8),
    # TensorRT's parser takes neither zero points nor integer biases.
    "tensorrt": Int8Profile(
        activations=QuantType.QInt8,
        options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    ),
}


CALIBRATIONS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile 99.999": (CalibrationMethod.Percentile, {"percentile": 99.999}),
    "percentile 99.99": (CalibrationMethod.Percentile, {"percentile": 99.99}),
    "entropy": (CalibrationMethod.Entropy, {}),
}
"""How ranges can be taken from real inputs. Exports take the first; ``experiments.calibration``
compares them."""


class Quantiser:
    """Makes integer graphs of one float graph.

    Args:
        graph: a serialised float32 model, see :func:`p2p_export.graph.integer_ends.for_integers`.
        frames: calibration inputs, (N, H, W, 3) uint8 BGR.
        profile: the target.
        scratch: a folder for temporary files.
        calibration: a key of :data:`CALIBRATIONS`.
    """

    def __init__(
        self,
        graph: bytes,
        frames: NDArray[np.uint8],
        profile: Int8Profile,
        scratch: Path,
        calibration: str = "minmax",
    ) -> None:
        self._profile = profile
        self._ranges = _ranges(graph, frames, scratch, calibration)
        self._model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(graph))
        add_infer_metadata(self._model)  # else the quantiser writes and reads the model once more
        self.layers = _layers(self._model)
        self._fix_ranges()
        whole = any(node.op_type == "Sigmoid" for node in self._model.graph.node)
        self._always_float = [] if whole else list(self.layers)[-1:]

    def quantise(self, floating: list[str]) -> bytes:
        """Return the integer graph, the named layers in float.

        The last convolution always is, unless a sigmoid follows it: it computes what pixels are
        rounded from, and would be rounded coarser than they.
        """
        kept = {node for one in [*self._always_float, *floating] for node in self.layers[one]}
        return self._quantised([], sorted(kept))

    def quantise_only(self, layer: str) -> bytes:
        """Return the graph with one layer in integers, to see how much that one costs."""
        return self._quantised(list(self.layers[layer]), [])

    def search(self, measure: Callable[[bytes], ParityReport]) -> tuple[bytes, list[str]]:
        """Quantise, and put the most sensitive layers back to float until the gates are passed.

        Returns:
            The graph and the layers that stay in float; the gates may still be missed when too
            many would have to.
        """
        graph, floating = self.quantise([]), list[str]()
        if not (failures := measure(graph).failures()):
            return graph, floating
        _log.warning("int8: %s; looking for the layers that cause it", "; ".join(failures))
        candidates = [layer for layer in self.layers if layer not in self._always_float]
        costs = {layer: measure(self.quantise_only(layer)).psnr_db for layer in candidates}
        for layer in sorted(candidates, key=costs.__getitem__)[:MOST_IN_FLOAT]:
            floating.append(layer)
            graph = self.quantise(floating)
            if not measure(graph).failures():
                break
        return graph, floating

    def _fix_ranges(self) -> None:
        """Set the ranges that are known without looking at frames.

        A picture's levels stay as they are, so the first convolution's input has the range of their
        type; and what a sigmoid reads ranges no further than pixels can tell.
        """
        graph = self._model.graph
        constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "DequantizeLinear":
                name = next(one.input[0] for one in graph.node if one.op_type == "Conv")
                step, zero = (onnx.numpy_helper.to_array(constants[one]) for one in node.input[1:])
                least, most = (np.array([0, 255], np.float32) - zero) * step
            elif node.op_type == "Sigmoid":
                name = node.input[0]
                least, most = self._ranges[name].range_value
                least, most = np.maximum(least, -SATURATED), np.minimum(most, SATURATED)
            else:
                continue
            self._ranges[name] = TensorData(lowest=least, highest=most)

    def _quantised(self, only: list[str], without: list[str]) -> bytes:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        quantiser = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=self._profile.reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=self._profile.activations,
            tensors_range=self._ranges,
            nodes_to_quantize=only,
            nodes_to_exclude=without,
            op_types_to_quantize=OPERATORS,
            extra_options=dict(self._profile.options),
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        return clean(quantiser.model.model)


def calibration_frames(
    folder: Path, config: TrainConfig, contract: PixelContract
) -> tuple[NDArray[np.uint8], str]:
    """Read up to 100 calibration inputs and say in a sentence which.

    Raises:
        DatasetError: the folder is missing or holds no readable images.
        ExportError: too few of them differ, or are more than one colour.
    """
    frames = read_inputs(folder, config, contract, limit=CALIBRATION_FRAMES, part="train")
    useful = {frame.tobytes() for frame in frames if not (frame == frame[0, 0]).all()}
    if len(useful) < FEWEST_CALIBRATION_FRAMES:
        raise ExportError(
            f"{folder} holds {len(useful)} different inputs of more than one colour; int8 needs "
            f"at least {FEWEST_CALIBRATION_FRAMES}, and {CALIBRATION_FRAMES} for good ranges"
        )
    if len(useful) < CALIBRATION_FRAMES:
        _log.warning(
            "int8: %d different calibration inputs; with fewer than %d, rare pictures may leave "
            "the ranges",
            len(useful),
            CALIBRATION_FRAMES,
        )
    digest = hashlib.sha256(frames.tobytes()).hexdigest()
    return frames, f"ranges from {len(frames)} inputs, sha256 {digest[:16]}"


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._frames: Iterator[NDArray[np.uint8]] = iter(frames)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        frame = next(self._frames, None)
        return None if frame is None else {INPUT_NAME: frame[None]}


def _ranges(
    graph: bytes, frames: NDArray[np.uint8], scratch: Path, calibration: str
) -> TensorsData:
    """Return the range of each tensor over the frames."""
    method, options = CALIBRATIONS[calibration]
    with tempfile.TemporaryDirectory(prefix=".p2p-export-", dir=scratch) as folder:
        model = Path(folder) / "float.onnx"
        write_bytes(model, graph)
        calibrator = create_calibrator(
            model,
            OPERATORS,
            augmented_model_path=str(Path(folder) / "ranges.onnx"),
            calibrate_method=method,
            extra_options=options,
        )
        for first in range(0, len(frames), AT_ONCE):  # a histogram keeps all tensors till its end
            calibrator.collect_data(_Reader(frames[first : first + AT_ONCE]))
        return calibrator.compute_data()


def _layers(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Return the nodes that must stay in float for a convolution to do so, in graph order.

    That is the convolution and, if there is one, the concatenation that makes its input.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    layers: dict[str, tuple[str, ...]] = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            maker = makers.get(node.input[0])
            joins = maker is not None and maker.op_type == "Concat"
            layers[node.name] = (node.name, maker.name) if maker and joins else (node.name,)
    return layers
