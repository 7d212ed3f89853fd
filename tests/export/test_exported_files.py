"""The file: what is in it, and what is not."""

from __future__ import annotations

import getpass
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from p2p_export.graph.tracing import MAX_IR, OPSET
from p2p_export.targets.onnx import write_bundle
from p2p_runtime.model.bundle import METADATA_KEY, ModelBundle
from p2p_runtime.translate.translator import Translator
from toy_export import CONTRACT, toy_frames, write_checkpoint

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(params=PRECISIONS)
def bundle_path(request: pytest.FixtureRequest, exported) -> Path:
    """Return the bundle of each precision in turn."""
    return exported[request.param].path


def test_fault_39_devices_read_the_versions(bundle_path):
    """Opset and IR are no newer than what the oldest supported runtimes read."""
    model = onnx.load(bundle_path)
    assert model.ir_version <= MAX_IR == 10
    assert all(one.version <= OPSET == 20 for one in model.opset_import)


def test_fault_36_one_file_holds_everything(bundle_path):
    """No tensor lies outside, and nothing but bundles and figures stands beside them."""
    model = onnx.load(bundle_path, load_external_data=False)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    beside = {path.name for path in bundle_path.parent.iterdir()}
    bundles = {f"model-{name}.onnx" for name in PRECISIONS}
    assert beside == bundles | {f"model-{name}-parity.png" for name in PRECISIONS} | {"parity.json"}


def test_fault_37_nothing_tells_of_the_exporting_machine(bundle_path, run):
    """No path, user, host or source line of this machine lies in the bytes."""
    content = bundle_path.read_bytes()
    secrets = {
        "stack_trace", ".py", "site-packages", str(run), str(Path.cwd()), str(Path.home()),
        sys.prefix, platform.node(), f"/{getpass.getuser()}",
    }  # fmt: skip
    assert [secret for secret in secrets if len(secret) > 3 and secret.encode() in content] == []


def test_metadata_is_the_contract_alone(bundle_path):
    """Neither model, graph nor nodes carry texts beside the contract."""
    model = onnx.load(bundle_path)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    assert not model.doc_string
    assert not model.graph.doc_string
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    for part in (*values, *model.graph.node, *model.graph.initializer):
        assert not part.metadata_props
        assert not part.doc_string


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_casts_stand_at_both_ends(precision, exported):
    """uint8 meets a Cast and nothing else: other operators on uint8 are refused by TensorRT."""
    graph = onnx.load(exported[precision].path).graph
    consumers = [node.op_type for node in graph.node if "frame" in node.input]
    producers = [node.op_type for node in graph.node if "image" in node.output]
    assert (consumers, producers) == (["Cast"], ["Cast"])


def test_fp32_graph_is_lean(exported):
    """Norms are folded, the colour swap is in the weights, dropout is gone."""
    kinds = {node.op_type for node in onnx.load(exported["fp32"].path).graph.node}
    assert kinds == {
        "Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "LeakyRelu", "Mul",
        "Relu", "Round", "Sub", "Tanh", "Transpose",
    }  # fmt: skip


def test_the_batch_is_dynamic(bundle_path):
    """One, three or eight frames at a time give what each gives alone, to a rounding edge."""
    session = onnxruntime.InferenceSession(bundle_path, providers=["CPUExecutionProvider"])
    frames = toy_frames()
    (alone,) = zip(*(session.run(None, {"frame": frame[None]}) for frame in frames), strict=True)
    alone = np.concatenate(alone).astype(int)
    for count in (1, 3, 8):
        (images,) = session.run(None, {"frame": frames[:count]})
        assert np.abs(images - alone[:count]).max() <= 1


def test_the_device_loads_and_translates(bundle_path, reference):
    """The public Python API takes an exported file and gives the trained image."""
    with Translator.load(bundle_path, device="cpu") as translate:
        image = translate(reference.frames[0])
    difference = np.abs(image.astype(int) - reference.images[0])
    assert difference.mean() < 2
    assert reference.images[0].std() > 20, "the comparison would prove nothing"


def test_the_bundle_says_what_it_is(exported, run):
    """Contract, origin and parity figures travel in the file."""
    info = ModelBundle.load(exported["fp16"].path).info
    assert (info.contract, info.precision) == (CONTRACT, "fp16")
    assert info.generator["mode"] == "eval: running statistics, no dropout"
    assert info.provenance["images_seen"] == 24
    assert len(info.provenance["checkpoint_sha256"]) == 64
    assert info.parity == asdict(exported["fp16"].report)
    figures = json.loads((run / "export" / "parity.json").read_text())
    assert figures["model-fp16.onnx"] == info.parity


def test_fault_42_another_process_writes_the_same_bytes(exported, inputs, tmp_path, command):
    """Exporting one checkpoint twice gives the same three files, elsewhere and in a new process."""
    checkpoint = write_checkpoint(tmp_path / "again" / "best.pt")
    command(
        "p2p-export", checkpoint, "--fp16", "--int8", "--calibration", inputs, "--output", "out",
        folder=tmp_path,
    )  # fmt: skip
    for bundle in exported.values():
        again = tmp_path / "out" / bundle.path.name
        assert again.read_bytes() == bundle.path.read_bytes()


def test_writing_again_gives_the_same_bytes(graph, reference, tmp_path):
    """Measuring, describing and verifying add nothing that changes from run to run."""
    for name in ("one.onnx", "two.onnx"):
        write_bundle(tmp_path / name, graph, reference, "fp32")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
