"""Half precision where it fits, float32 where it does not."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from p2p_export.graph.fp16 import InDtype, fits_fp16, float32_layers, halve, peak_values
from p2p_export.graph.pixel_generator import PixelGenerator, fold
from p2p_export.parity import run_torch
from toy_export import toy_config, toy_frames, toy_generator


def loud_generator() -> nn.Module:
    """Return a folded generator of which the second layer reaches beyond 65504.

    The layers that read it are quietened by as much, so the image is an ordinary one.
    """
    folded = fold(toy_generator())
    loud, after, across = folded.encoder[1][0], folded.encoder[2][0], folded.decoder[-1][0]
    with torch.no_grad():
        loud.weight *= 1e5
        loud.bias *= 1e5
        after.weight /= 1e5
        across.weight[across.in_channels // 2 :] /= 1e5  # the skip's half
    return folded


def test_fault_33_layers_near_the_limit_are_found():
    """The scan names the loud layer and those that read it, and no other."""
    quiet = peak_values(PixelGenerator(fold(toy_generator())), toy_frames())
    assert all(map(fits_fp16, quiet.values()))
    loud = peak_values(PixelGenerator(loud_generator()), toy_frames())
    names = {layer for layer, peak in loud.items() if not fits_fp16(peak)}
    assert {"generator.encoder.1.0", "generator.encoder.2.0"} <= names
    assert "generator.encoder.0.0" not in names
    assert len(names) < len(loud) / 2


def test_fault_33_kept_layers_save_the_picture():
    """Half precision alone ruins a generator that overflows; keeping the loud layers does not."""
    module, frames = PixelGenerator(loud_generator()), toy_frames()
    expected = run_torch(module, frames).astype(int)
    names, _ = float32_layers(module, frames)
    kept = run_torch(halve(module, names), frames)
    assert np.abs(kept - expected).max() <= 2
    with torch.inference_mode():
        ruined = halve(module)(torch.from_numpy(frames)).numpy()
    assert np.abs(ruined - expected).mean() > 10


@pytest.mark.parametrize("peak", [float("nan"), float("inf"), 65504.0])
def test_fault_33_what_is_not_a_number_does_not_fit(peak):
    """NaN, infinity and the limit itself are outside the safe range."""
    assert not fits_fp16(peak)
    assert fits_fp16(100.0)


def test_instance_norm_computes_in_float32():
    """Its sums leave float16's range, so it is never halved."""
    halved = halve(PixelGenerator(fold(toy_generator(toy_config(norm="instance")))))
    wrapped = [layer for layer in halved.modules() if isinstance(layer, InDtype)]
    norms = [one for one in wrapped if isinstance(one.layer, nn.InstanceNorm2d)]
    assert norms
    assert {one.dtype for one in norms} == {torch.float32}
    assert {one.dtype for one in wrapped if one not in norms} == {torch.float16}


def test_the_file_holds_half_of_the_bytes(exported):
    """Every convolution's weights are float16, and pixels on both sides stay uint8."""
    graph = onnx.load(exported["fp16"].path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = [kinds[node.input[1]] for node in graph.node if "Conv" in node.op_type]
    assert len(weights) == 12
    assert set(weights) == {onnx.TensorProto.FLOAT16}
    ports = {port.type.tensor_type.elem_type for port in (*graph.input, *graph.output)}
    assert ports == {onnx.TensorProto.UINT8}


def test_parity_is_far_above_the_gate(exported):
    """The toy generator loses nothing that could be seen."""
    assert exported["fp16"].report.psnr_db > 55
    assert exported["fp16"].notes == ()


def test_kept_layers_are_told(caplog, reference):
    """Layers that stay in float32 are named, with the value they reach."""
    module = PixelGenerator(loud_generator())
    with caplog.at_level(logging.WARNING):
        names, notes = float32_layers(module, reference.frames)
    assert "generator.encoder.1.0" in names
    assert any(
        note.startswith("generator.encoder.1.0 stays in float32: it reaches") for note in notes
    )
    assert "fp16: generator.encoder.1.0 stays" in caplog.text
