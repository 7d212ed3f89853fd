"""A generator of grey pictures, in every exported form."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import torch

from p2p_export.graph.fp16 import halve
from p2p_export.graph.int8 import PROFILES, Quantiser
from p2p_export.graph.integer_ends import integer_form
from p2p_export.graph.pixel_generator import folded_generator
from p2p_export.graph.tracing import to_onnx
from p2p_export.parity import run_torch
from toy_export import CONTRACT, toy_config, toy_frames, toy_generator


def test_fault_129_channels_are_equal_in_every_precision(tmp_path):
    """The layer that makes them has three equal channels, so no form can tint them."""
    generator = toy_generator(toy_config(num_downs=4))
    generator.make_grey()
    frames = toy_frames(count=4)
    folded = folded_generator(generator)
    images = {"fp32": run_torch(folded, frames), "fp16": run_torch(halve(folded), frames)}
    graph = to_onnx(integer_form(generator, frames, uint8_ends=True), CONTRACT)
    content = Quantiser(graph, frames, PROFILES["x86"], tmp_path).quantise([])
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    images["int8"] = np.concatenate([session.run(None, {"frame": f[None]})[0] for f in frames])
    for precision, pictures in images.items():
        assert np.ptp(pictures, axis=3).max() == 0, precision
        assert pictures.std() > 5


def test_coloured_generators_keep_their_weights():
    """Only grey targets change them."""
    weight = toy_generator().output[0].weight
    assert not torch.equal(weight[:, 0], weight[:, 1])
