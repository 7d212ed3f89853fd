"""Generators of other shapes and norms, through every precision."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p_export.graph.fp16 import fp16_graph
from p2p_export.graph.int8 import int8_graph
from p2p_export.graph.pixel_generator import PixelGenerator, folded_generator
from p2p_export.graph.tracing import Graph, to_onnx
from p2p_export.parity import Reference, measure, run_torch
from p2p_runtime.labels.palette import CAMVID
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.networks.generator import UNetGenerator
from toy_export import toy_config, toy_frames, toy_generator


def reference_of(config: TrainConfig) -> tuple[UNetGenerator, Reference]:
    """Return a generator and what it makes of eight frames."""
    generator = toy_generator(config)
    contract = PixelContract(height=config.data.height, width=config.data.width, palette=CAMVID)
    frames = toy_frames(contract)
    images = run_torch(PixelGenerator(generator), frames)
    return generator, Reference(
        contract=contract,
        frames=frames,
        images=images,
    )


def require_all(generator: UNetGenerator, reference: Reference, folder: Path) -> None:
    """Make the graph of each precision and check its gates."""
    graphs = {
        "fp32": Graph(content=to_onnx(folded_generator(generator), reference.contract)),
        "fp16": fp16_graph(generator, reference),
        "int8": int8_graph(generator, reference, reference.frames, "x86", folder),
    }
    for precision, graph in graphs.items():
        measure(graph.content, reference, precision, folder).report.require()


def test_instance_norm_passes_in_every_precision(tmp_path):
    """InstanceNorm stays in the graph, in float32 whatever surrounds it."""
    generator, reference = reference_of(toy_config(norm="instance"))
    require_all(generator, reference, tmp_path)
    assert not list(tmp_path.iterdir())


def test_cheaper_shapes_pass_in_every_precision(tmp_path):
    """Fewer downsamplings fold and quantise like the default."""
    generator, reference = reference_of(toy_config(num_downs=4))
    require_all(generator, reference, tmp_path)


@pytest.mark.parametrize("size", [(256, 256), (64, 128)])
def test_other_sizes_pass(size, tmp_path):
    """Eight downsamplings to one pixel, and images that are wider than high."""
    generator, reference = reference_of(toy_config(image_size=(size[1], size[0])))
    assert reference.images.shape == (8, *size, 3)
    graph = to_onnx(folded_generator(generator), reference.contract)
    measure(graph, reference, "fp32", tmp_path).report.require()
