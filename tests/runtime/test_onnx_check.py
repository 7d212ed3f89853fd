"""The protobuf walker: every fault it must refuse, and that nothing makes it crash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from p2p_runtime.errors import BundleError
from p2p_runtime.model import onnx_check
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.onnx_check import inspect_onnx, payload_sha256

Edit = Callable[[onnx.ModelProto], None]


def save(model: onnx.ModelProto, folder: Path) -> Path:
    """Write a model to a file."""
    path = folder / "edited.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_the_summary_holds_metadata_and_operators(bundle: Path) -> None:
    """A sound bundle's outline is read without onnx."""
    summary = inspect_onnx(bundle)
    assert list(summary.metadata) == ["p2p_contract"]
    assert summary.op_types == {"Cast": 2, "Sub": 1}


def test_the_payload_digest_ignores_metadata_alone(model: onnx.ModelProto) -> None:
    """The digest is that of the file without its metadata_props, wherever those stand."""
    bare = model.SerializeToString()
    helper.set_model_props(model, {"note": "anything"})
    assert payload_sha256(model.SerializeToString()) == hashlib.sha256(bare).hexdigest()
    model.producer_name = "somebody else"
    assert payload_sha256(model.SerializeToString()) != hashlib.sha256(bare).hexdigest()


def test_the_weights_are_hashed_once(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pass gives the digest of the payload and of the file, wherever the metadata stand."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(10_000, np.float32), "w"))
    bare = model.SerializeToString()
    helper.set_model_props(model, {"note": "anything"})
    whole = model.SerializeToString()
    hashed = []

    class Counting:
        def __init__(self) -> None:
            self.content = b""

        def update(self, content: bytes) -> None:
            hashed.append(len(content))
            self.content += content

        def copy(self) -> Counting:
            other = Counting()
            other.content = self.content
            return other

        def hexdigest(self) -> str:
            return self.content.hex()

    monkeypatch.setattr(onnx_check, "hashlib", SimpleNamespace(sha256=Counting))
    for content in (whole, whole[len(bare) :] + bare):
        (tmp_path / "model.onnx").write_bytes(content)
        summary = inspect_onnx(tmp_path / "model.onnx")
        assert summary.payload_sha256 == bare.hex()
        assert summary.sha256 == content.hex()
        if content is whole:  # as protobuf writes it
            assert sum(hashed) == len(whole)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html>not found</html>", "text file"),
        (b"\x00\x01\x02\x03" * 50, "damaged, or not ONNX"),
        (b"\x08\x0a", "holds no graph"),
    ],
)
def test_fault_43_a_file_that_is_no_model(tmp_path: Path, content: bytes, message: str) -> None:
    """Empty, text, random and graphless files are told apart in one line."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=message) as caught:
        inspect_onnx(path)
    assert "\n" not in str(caught.value)


def test_fault_43_missing_and_folder(tmp_path: Path) -> None:
    """A missing file and a folder are named as such."""
    with pytest.raises(BundleError, match="does not exist"):
        inspect_onnx(tmp_path / "no.onnx")
    with pytest.raises(BundleError, match="directory"):
        inspect_onnx(tmp_path)


def test_fault_43_every_truncation_is_refused(bundle: Path, tmp_path: Path) -> None:
    """A bundle cut anywhere never loads."""
    content, cut = bundle.read_bytes(), tmp_path / "cut.onnx"
    for size in range(0, len(content), 97):
        cut.write_bytes(content[:size])
        with pytest.raises(BundleError):
            ModelBundle.load(cut)


def test_fault_44_a_flipped_weight_bit_is_refused(bundle: Path) -> None:
    """One changed bit of a weight breaks the digest."""
    content = bytearray(bundle.read_bytes())
    content[content.index(np.float32(255).tobytes())] ^= 1
    bundle.write_bytes(content)
    with pytest.raises(BundleError, match="is damaged"):
        ModelBundle.load(bundle)


def _external(tensor: TensorProto, location: str) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def _external_initializer(model: onnx.ModelProto) -> None:
    _external(model.graph.initializer[0], "../secret")


def _external_entry_only(model: onnx.ModelProto) -> None:
    _external(model.graph.initializer[0], "/etc/hostname").ClearField("data_location")


def _external_flag_only(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _external_attribute(model: onnx.ModelProto) -> None:
    value = _external(numpy_helper.from_array(np.zeros(4, np.float32)), "weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


def _external_in_subgraph(model: onnx.ModelProto) -> None:
    value = _external(numpy_helper.from_array(np.zeros(4, np.float32), "w"), "weights.bin")
    branch = helper.make_graph([], "branch", [], [], [value])
    model.graph.node.append(
        helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch)
    )


def _external_in_function(model: onnx.ModelProto) -> None:
    value = _external(numpy_helper.from_array(np.zeros(4, np.float32)), "weights.bin")
    node = helper.make_node("Constant", [], ["c"], value=value)
    function = helper.make_function("", "Own", [], ["c"], [node], [helper.make_opsetid("", 20)])
    model.functions.append(function)


def _external_sparse(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(_external(numpy_helper.from_array(np.zeros(4, np.float32)), "w.bin"))


@pytest.mark.parametrize(
    "edit",
    [
        _external_initializer,
        _external_entry_only,
        _external_flag_only,
        _external_attribute,
        _external_in_subgraph,
        _external_in_function,
        _external_sparse,
    ],
)
def test_fault_45_external_data_is_refused(
    model: onnx.ModelProto, tmp_path: Path, edit: Edit
) -> None:
    """No tensor anywhere in the file may name another file."""
    edit(model)
    with pytest.raises(BundleError, match="external data"):
        inspect_onnx(save(model, tmp_path))


def _huge_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.extend([1 << 20, 1 << 20])


def _huge_input(model: onnx.ModelProto) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 100_000


def _negative_side(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.extend([-4])


def _many_sides(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims.extend([1] * 100)


@pytest.mark.parametrize("edit", [_huge_initializer, _huge_input, _negative_side, _many_sides])
def test_fault_46_absurd_tensors_are_refused(
    model: onnx.ModelProto, tmp_path: Path, edit: Edit
) -> None:
    """Tensors that no generator has are refused before anything is allocated."""
    edit(model)
    with pytest.raises(BundleError, match="declares a tensor"):
        inspect_onnx(save(model, tmp_path))


def _custom_node(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "evil.ops"


def _custom_function(model: onnx.ModelProto) -> None:
    imports = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("evil.ops", "Sub", [], [], [], imports))


@pytest.mark.parametrize("edit", [_custom_node, _custom_function])
def test_fault_47_custom_operators_are_refused(
    model: onnx.ModelProto, tmp_path: Path, edit: Edit
) -> None:
    """Operators and functions of other domains are named in the message."""
    edit(model)
    with pytest.raises(BundleError, match=r"evil\.ops"):
        inspect_onnx(save(model, tmp_path))


def test_fault_47_the_integer_domain_is_allowed(model: onnx.ModelProto, tmp_path: Path) -> None:
    """com.microsoft, which INT8 files use, passes."""
    model.graph.node[1].domain = "com.microsoft"
    assert inspect_onnx(save(model, tmp_path)).op_types["Sub"] == 1


def test_metadata_twice_is_refused(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Two readers could pick different values of a key that stands twice."""
    for value in ("a", "b"):
        entry = model.metadata_props.add()
        entry.key, entry.value = "p2p_contract", value
    with pytest.raises(BundleError, match="twice"):
        inspect_onnx(save(model, tmp_path))


def test_graphs_within_graphs_end_somewhere(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Deep nesting is refused instead of exhausting the stack."""
    graph = helper.make_graph([], "innermost", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["c"], ["d"], then_branch=graph)
        graph = helper.make_graph([node], "outer", [], [])
    model.graph.node.extend(graph.node)
    with pytest.raises(BundleError, match="nest deeper"):
        inspect_onnx(save(model, tmp_path))


fuzzing = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzzing
@given(content=st.binary(max_size=300))
def test_random_bytes_never_crash_the_walker(tmp_path: Path, content: bytes) -> None:
    """Any file is either read or refused with a BundleError."""
    path = tmp_path / "random.onnx"
    path.write_bytes(content)
    try:
        inspect_onnx(path)
    except BundleError:
        return


@fuzzing
@given(place=st.integers(min_value=0), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_nothing_vital(
    bundle: Path, place: int, value: int
) -> None:
    """A bundle with one changed byte loads only if its payload is what was exported."""
    original = bundle.read_bytes()
    content = bytearray(original)
    content[place % len(content)] = value
    path = bundle.with_name("changed.onnx")
    path.write_bytes(content)
    try:
        loaded = ModelBundle.load(path)
    except BundleError:
        return
    assert payload_sha256(bytes(content)) == loaded.info.payload_sha256
