"""Eight bits: what is quantised, from what, and what happens when it is not good enough."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from test_parity import GOOD

from p2p_export.graph.int8 import PROFILES, Quantiser
from p2p_export.graph.integer_ends import integer_form
from p2p_export.graph.tracing import to_onnx
from toy_export import CONTRACT, toy_frames


def quantiser_for(profile: str, generator, scratch: Path) -> Quantiser:
    """Return a quantiser of a generator for a profile."""
    module = integer_form(generator, toy_frames(), uint8_ends=PROFILES[profile].uint8_ends)
    return Quantiser(to_onnx(module, CONTRACT), toy_frames(), PROFILES[profile], scratch)


@pytest.fixture(scope="module")
def quantisers(generator, tmp_path_factory) -> dict[str, Quantiser]:
    """Return a quantiser of the toy generator for each profile."""
    scratch = tmp_path_factory.mktemp("scratch")
    return {profile: quantiser_for(profile, generator, scratch) for profile in PROFILES}


@pytest.fixture(scope="module")
def quantiser(quantisers) -> Quantiser:
    """Return a quantiser of the toy generator for x86."""
    return quantisers["x86"]


def quantised_convolutions(content: bytes) -> list[bool]:
    """Say of each convolution, in graph order, whether its weights are integers."""
    graph = onnx.load_model_from_string(content).graph
    integers = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [node.input[1] in integers for node in graph.node if node.op_type == "Conv"]


def optimised_kinds(content: bytes, folder: Path) -> Counter[str]:
    """Count the operators that ONNX Runtime's CPU provider really runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    # Signed activations as an ARM CPU runs them; on x86 they are otherwise computed in float.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


def test_all_convolutions_are_integers(exported):
    """The last one, too, which is computed twice; tables follow, at the resolution of pixels."""
    content = exported["int8"].path.read_bytes()
    assert quantised_convolutions(content) == [True] * 13
    kinds = {node.op_type for node in onnx.load_model_from_string(content).graph.node}
    assert "ConvTranspose" not in kinds


@pytest.mark.parametrize("profile", ["arm", "tensorrt"])
def test_without_unsigned_activations_the_last_convolution_is_float(profile, quantisers):
    """Its output becomes pixels, which int8 would round more coarsely."""
    content = quantisers[profile].quantise([])
    assert quantised_convolutions(content) == [True] * 11 + [False]


def test_the_sigmoids_input_range_ends_where_pixels_saturate(generator, tmp_path):
    """Saturated black and white do not make the quantisation steps between them coarser."""
    saturated = copy.deepcopy(generator)
    saturated.output[0].weight.data *= 50
    graph = onnx.load_model_from_string(
        quantiser_for("x86", saturated, tmp_path).quantise([])
    ).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    sigmoids = [node for node in graph.node if node.op_type == "Sigmoid"]
    for sigmoid, end in zip(sigmoids, (255, 0), strict=True):  # dark values end at 0, bright begin
        step, zero = (tensors[name] for name in producers[sigmoid.input[0]].input[1:])
        assert step == pytest.approx(5.13 / 255, rel=0.01)
        assert zero == end


def test_weights_have_a_scale_for_each_output(quantiser):
    """Per-channel weights are signed bytes."""
    graph = onnx.load_model_from_string(quantiser.quantise([])).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producers = {node.output[0]: node for node in graph.node}
    first = next(node for node in graph.node if node.op_type == "Conv")
    weight, scale, zero = (tensors[name] for name in producers[first.input[1]].input)
    assert weight.data_type == zero.data_type == onnx.TensorProto.INT8
    assert list(scale.dims) == [4]


def test_quantising_twice_gives_the_same_bytes(quantiser):
    """Nothing in the integer graph depends on the moment."""
    assert quantiser.quantise([]) == quantiser.quantise([])


def test_layers_can_stay_in_float(quantiser):
    """A named layer keeps float weights, the others do not."""
    layers = list(quantiser.layers)
    content = quantiser.quantise([layers[3]])
    assert [index for index, one in enumerate(quantised_convolutions(content)) if not one] == [3]
    only = quantiser.quantise_only(layers[3])
    assert [index for index, one in enumerate(quantised_convolutions(only)) if one] == [3]


def test_tensorrt_gets_symmetric_signed_bytes(quantisers):
    """TensorRT's parser takes neither zero points nor integer biases, and a cast at either end."""
    graph = onnx.load_model_from_string(quantisers["tensorrt"].quantise([])).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    zeros = [onnx.numpy_helper.to_array(tensors[node.input[2]]) for node in nodes]
    assert all(not zero.any() for zero in zeros)
    kinds = {tensors[one.input[0]].data_type for one in nodes if one.input[0] in tensors}
    assert onnx.TensorProto.INT32 not in kinds
    ends = [node for node in graph.node if "frame" in node.input or "image" in node.output]
    assert [node.op_type for node in ends] == ["Cast", "Cast"]


def test_without_vnni_weights_have_seven_bits(quantisers):
    """Two products of 8-bit weights would overflow 16 bits; of 7-bit weights they do not."""

    def largest(profile: str) -> int:
        graph = onnx.load_model_from_string(quantisers[profile].quantise([])).graph
        integers = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
        return max(int(np.abs(onnx.numpy_helper.to_array(t).astype(int)).max()) for t in integers)

    assert largest("x86") == 127
    assert largest("x86-avx2") == 64


@pytest.mark.parametrize("profile", ["x86", "x86-avx2", "arm"])
def test_layers_run_in_integers_to_their_end(profile, quantisers, tmp_path):
    """Activations, concatenations and shuffles stay integers, and few permutations are left.

    Two to six permutations belong to the last layer and to the picture; a DepthToSpace alone
    would bring two more each.
    """
    kinds = optimised_kinds(quantisers[profile].quantise([]), tmp_path)
    floating = 0 if PROFILES[profile].uint8_ends else 1
    assert kinds["QLinearConv"] == 13 - 2 * floating
    assert kinds["QLinearSigmoid"] == 2 - 2 * floating
    assert kinds["QLinearAdd"] == 1 - floating
    assert kinds["Conv"] + kinds["FusedConv"] == kinds["Concat"] == floating
    assert kinds["Relu"] == kinds["LeakyRelu"] == kinds["DepthToSpace"] == kinds["Sigmoid"] == 0
    assert kinds["QuantizeLinear"] <= 1 + floating  # innermost decoder block, output
    assert kinds["DequantizeLinear"] <= 1 + 2 * floating
    assert kinds["Transpose"] < 12


def test_fault_34_the_last_layer_can_go_back_to_float(quantiser, tmp_path):
    """Both halves of it; the graph then still ends in QuantizeLinear and rows of pixels."""
    content = quantiser.quantise(list(quantiser.layers)[-2:])
    assert quantised_convolutions(content) == [True] * 11 + [False] * 2
    kinds = optimised_kinds(content, tmp_path)
    assert kinds["QLinearConv"] == 11
    assert kinds["QLinearSigmoid"] == kinds["Round"] == 0


def test_fault_34_good_parity_needs_no_search(quantiser):
    """When the gates are passed at once, no layer goes back to float."""
    content, float_layers = quantiser.search(lambda _: replace(GOOD, precision="int8"))
    assert float_layers == []
    assert quantised_convolutions(content) == [True] * 13


def test_fault_34_the_worst_layers_go_back_to_float(quantiser):
    """Layers are taken in the order of what each costs, until the gates are passed."""
    costs = {5: 10.0, 2: 20.0}  # dB that a layer alone leaves

    def measure(content: bytes):
        integers = quantised_convolutions(content)
        bad = [cost for layer, cost in costs.items() if integers[layer]]
        return replace(GOOD, precision="int8", psnr_db=min(bad, default=45.0))

    content, float_layers = quantiser.search(measure)
    layers = list(quantiser.layers)
    assert float_layers == [layers[5], layers[2]]
    assert not measure(content).failures()


def test_fault_34_the_search_gives_up(quantiser):
    """A generator that int8 cannot represent is returned with its failure."""
    bad = replace(GOOD, precision="int8", psnr_db=12.0)
    _, float_layers = quantiser.search(lambda _: bad)
    assert 0 < len(float_layers) <= 8
