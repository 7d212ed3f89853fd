"""NVIDIA's own parser and builder take what we export: no GPU needed, but 300 MB of packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p_export.exporting import export
from p2p_export.options import ExportOptions

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")


def build(path: Path) -> tuple[list[str], int]:
    """Return the parser's complaints and the size of an engine for an RTX 30 in bytes."""
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        return [parser.get_error(index).desc() for index in range(parser.num_errors)], 0
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("frame", (1, 64, 64, 3), (1, 64, 64, 3), (8, 64, 64, 3))
    config.add_optimization_profile(profile)
    return [], builder.build_serialized_network(network, config).nbytes


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float_bundles_become_engines(precision, exported):
    """uint8 pictures on both sides, a dynamic batch and strong typing are all accepted."""
    complaints, engine_bytes = build(exported[precision].path)
    assert complaints == []
    assert engine_bytes > 0


def test_int8_needs_its_own_profile(exported, run, inputs, tmp_path):
    """The tensorrt profile becomes an engine; integer biases, which CPUs want, are refused."""
    complaints, _ = build(exported["int8"].path)
    assert any("bias" in complaint for complaint in complaints)
    path = tmp_path / "model.onnx"
    export(
        ExportOptions(
            source=run, int8=True, int8_profile="tensorrt", calibration=inputs, output=path
        )
    )
    complaints, engine_bytes = build(path)
    assert complaints == []
    assert engine_bytes > 0
