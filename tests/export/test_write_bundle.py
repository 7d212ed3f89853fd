"""A bundle appears whole and proven, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from failing_disk import every_failure
from p2p_export.targets import onnx as target
from p2p_export.targets.onnx import write_bundle
from p2p_runtime.errors import BundleError, OutputError, ParityError
from p2p_runtime.model.bundle import ModelBundle


def disturbed(graph: bytes, by: float) -> bytes:
    """Return a graph with one weight of its first convolution changed."""
    model = onnx.load_model_from_string(graph)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    tensor = next(one for one in model.graph.initializer if one.name == first.input[1])
    weight = numpy_helper.to_array(tensor).copy()
    weight[0, 0, 1, 1] += by
    tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    return model.SerializeToString()


def models(folder: Path) -> list[str]:
    """Return everything in a folder but the parity picture, hidden files too."""
    return [path.name for path in folder.iterdir() if path.suffix != ".png"]


def test_fault_31_one_wrong_weight_is_refused(graph, reference, tmp_path):
    """A graph that computes something else is not written; a picture shows the worst frame."""
    write_bundle(tmp_path / "model.onnx", graph, reference, "fp32")
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(ParityError, match="fp32 model does not compute what was trained"):
        write_bundle(tmp_path / "model.onnx", disturbed(graph, by=1.0), reference, "fp32")
    assert models(tmp_path) == []
    assert (tmp_path / "model-parity.png").is_file()


def test_fault_31_a_refused_export_keeps_the_file_before_it(graph, reference, tmp_path):
    """A good bundle is not lost to a bad export."""
    path = tmp_path / "model.onnx"
    write_bundle(path, graph, reference, "fp32")
    before = path.read_bytes()
    with pytest.raises(ParityError):
        write_bundle(path, disturbed(graph, by=1.0), reference, "fp32")
    assert path.read_bytes() == before


def test_fault_30_a_full_disk_leaves_nothing(graph, reference, tmp_path, disk):
    """Wherever the disk ends, no part of the bundle stays."""

    def write():
        write_bundle(tmp_path / "model.onnx", graph, reference, "fp32")

    for *what, code in every_failure(disk, write, tmp_path):
        with pytest.raises(OutputError, match=os.strerror(code)):
            write()
        if models(tmp_path):  # the folder alone was not flushed
            assert what == ["fsync", str(tmp_path)]
            ModelBundle.load(tmp_path / "model.onnx")


def test_fault_30_a_bundle_that_does_not_open_gets_no_name(graph, reference, tmp_path, monkeypatch):
    """The very file is opened as a device would before it appears; damage is caught there."""
    attach = target.attach

    def damaged(graph: bytes, info: object) -> bytes:
        content = bytearray(attach(graph, info))
        content[len(content) // 2] ^= 0x40
        return bytes(content)

    monkeypatch.setattr(target, "attach", damaged)
    with pytest.raises(BundleError, match="damaged"):
        write_bundle(tmp_path / "model.onnx", graph, reference, "fp32")
    assert models(tmp_path) == []


def test_the_golden_frame_is_the_exported_files_own(exported):
    """What the runtime replays is what this file made of it, so an equal device scores at best."""
    from p2p_runtime.engines import open_engine
    from p2p_runtime.model.golden import GoldenFrame

    for one in exported.values():
        bundle = ModelBundle.load(one.path)
        engine = open_engine(bundle, device="cpu")
        golden = bundle.info.golden
        image = engine.infer(GoldenFrame.draw(bundle.contract, golden.seed)[np.newaxis])[0]
        assert golden.psnr_db(image) == float("inf")
