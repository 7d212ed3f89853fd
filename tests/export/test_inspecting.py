"""What a bundle says of itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from p2p_export.inspecting import describe, size_of, table
from p2p_export.targets.onnx import WrittenBundle
from p2p_runtime.errors import BundleError
from p2p_train.metrics.evaluator import SegmentationScore


def one_layer(kind: str, weight: list[int], output: list[int]) -> onnx.ModelProto:
    """Return a model of one 4x4 stride-2 layer over (1, 6, 8, 10)."""
    node = helper.make_node(
        kind, ["x", "w", "b"], ["y"], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    tensors = [
        helper.make_tensor(name, TensorProto.FLOAT, dims, bytes(4 * size), raw=True)
        for name, dims, size in (("w", weight, 6 * 5 * 16), ("b", [5], 5))
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in (("x", [1, 6, 8, 10]), ("y", output))
    ]
    return helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:], tensors))


@pytest.mark.parametrize(
    ("kind", "weight", "output", "pixels"),
    [
        ("Conv", [5, 6, 4, 4], [1, 5, 4, 5], 4 * 5),
        ("ConvTranspose", [6, 5, 4, 4], [1, 5, 16, 20], 8 * 10),
    ],
)
def test_multiplications_are_counted_where_the_kernel_is_applied(kind, weight, output, pixels):
    """Per output pixel of a convolution, per input pixel of a transposed one."""
    parameters, macs = size_of(one_layer(kind, weight, output))
    assert macs == 6 * 5 * 16 * pixels
    assert parameters == 6 * 5 * 16 + 5


def test_every_precision_costs_the_same_parameters(exported):
    """Weights are found in halves and behind integers, too."""
    counts = {name: size_of(onnx.load(one.path))[0] for name, one in exported.items()}
    assert counts["fp32"] == counts["fp16"]
    assert counts["int8"] == pytest.approx(counts["fp32"], rel=0.02)  # biases four-fold


def test_the_description_names_contract_origin_and_parity(exported):
    """A person can read what the file is, where it comes from and how close it is."""
    text = describe(exported["int8"].path)
    for word in ("64x64 px", "camvid", "GMAC", "images_seen", "psnr_db", "eval", "profile x86"):
        assert word in text


def test_fault_106_a_table_has_80_columns(exported, tmp_path, monkeypatch):
    """Also of four files with scores and the longest names, and a description with checksums."""
    monkeypatch.chdir(tmp_path)
    score = SegmentationScore(pixel_accuracy=0.5, class_accuracy=0.5, mean_iou=0.5)
    report = replace(
        exported["int8"].report, segmentation_score=score, trained_segmentation_score=score
    )
    names = ("model-fp32", "model-fp16", "model-int8", "model-int8-tensorrt")
    for name in names:
        shutil.copy(exported["int8"].path, f"{name}.onnx")
    lines = table([WrittenBundle(path=Path(f"{name}.onnx"), report=report) for name in names])
    assert tuple(lines.splitlines()[1].split()) == names
    assert "50.00 (+0.00)" in lines
    lines += f"\n{describe(Path('model-int8.onnx'))}"
    assert exported["int8"].path.read_bytes().count(lines.split()[-1].encode()) == 1
    assert max(map(len, lines.splitlines())) < 80, lines


def test_a_file_without_a_contract_is_refused(tmp_path):
    """A model without a contract is no bundle."""
    path = tmp_path / "model.onnx"
    path.write_bytes(one_layer("Conv", [5, 6, 4, 4], [1, 5, 4, 5]).SerializeToString())
    with pytest.raises(BundleError, match="without a pixel contract"):
        describe(path)
