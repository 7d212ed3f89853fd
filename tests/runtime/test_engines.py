"""Engines and the translator: strict devices, strict contracts, a golden frame."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from p2p_runtime.engines import open_engine, resolve_device
from p2p_runtime.engines import ort as ort_engine
from p2p_runtime.engines.ort import SESSION_KEYS, OrtEngine
from p2p_runtime.errors import (
    BundleError,
    ContractError,
    DeviceUnavailableError,
    EngineError,
    MissingExtraError,
)
from p2p_runtime.model.bundle import ModelBundle, sealed
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.translator import Translator

MakeBundle = Callable[..., Path]


def test_a_translator_gives_frames_of_the_size_it_was_given(bundle: Path) -> None:
    """Any frame size comes back unchanged, as uint8."""
    with Translator.load(bundle, device="cpu") as translate:
        for height, width in ((64, 64), (37, 101), (200, 30)):
            image = translate(np.zeros((height, width, 3), np.uint8))
            assert image.shape == (height, width, 3)
            assert image.dtype == np.uint8
            assert (image == 255).all()


def test_a_translator_times_its_stages(bundle: Path) -> None:
    """`translate` gives the image of a call, and three durations."""
    frame = np.zeros((50, 60, 3), np.uint8)
    with Translator.load(bundle, device="cpu", threads=1, allow_spinning=False) as translator:
        result = translator.translate(frame)
        np.testing.assert_array_equal(result.image, translator(frame))
    assert min(result.times_ms[stage] for stage in ("preprocess", "infer", "postprocess")) >= 0


def test_label_repair_can_be_disabled(bundle: Path) -> None:
    """Without repair, a colour outside the palette reaches the generator."""
    frame = np.full((64, 64, 3), 3, np.uint8)  # nearest to unlabelled, (0, 0, 0)
    with Translator.load(bundle, device="cpu") as translate:
        assert (translate(frame) == 255).all()
    with Translator.load(bundle, device="cpu", repair_labels=False) as translate:
        assert (translate(frame) == 252).all()


def test_a_frame_that_is_no_frame_is_refused(bundle: Path) -> None:
    """Floats and grey pictures break the contract."""
    with Translator.load(bundle, device="cpu") as translate:
        for frame in (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)):
            with pytest.raises(ContractError):
                translate(frame)  # type: ignore[arg-type]  # that is the test


def test_fault_44_another_golden_frame_is_refused(wrong_golden: Path) -> None:
    """A device that computes something else than the exporter did is not used."""
    with pytest.raises(BundleError, match="does not compute on cpu"):
        Translator.load(wrong_golden, device="cpu")
    Translator.load(wrong_golden, device="cpu", verify=False).close()


def test_a_golden_floor_of_nan_is_refused(bundle: Path) -> None:
    """A floor that compares with nothing does not switch the check off."""
    model = onnx.load_model_from_string(bundle.read_bytes())
    entry = model.metadata_props[0]
    assert '"min_psnr_db": 40.0' in entry.value
    entry.value = entry.value.replace('"min_psnr_db": 40.0', '"min_psnr_db": NaN')
    bundle.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="too large, or none"):
        Translator.load(bundle, device="cpu")


def test_fault_47_a_future_model_is_refused_with_versions(
    make_bundle: MakeBundle, model: onnx.ModelProto
) -> None:
    """A file format of tomorrow is refused, and onnxruntime's version is told."""
    model.ir_version = 99
    path = make_bundle(model=model)
    with pytest.raises(BundleError, match=rf"onnxruntime {ort.__version__} cannot load"):
        Translator.load(path, device="cpu")


def _reshaped(name: str, elem_type: int, shape: list[int | str]) -> onnx.ModelProto:
    node = helper.make_node("Identity", [name], ["image"])
    graph = helper.make_graph(
        [node],
        "identity",
        [helper.make_tensor_value_info(name, elem_type, shape)],
        [helper.make_tensor_value_info("image", elem_type, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("name", "elem_type", "shape"),
    [
        ("picture", TensorProto.UINT8, ["batch", 64, 64, 3]),
        ("frame", TensorProto.FLOAT, ["batch", 64, 64, 3]),
        ("frame", TensorProto.UINT8, ["batch", 3, 64, 64]),
        ("frame", TensorProto.UINT8, ["batch", 64, "width", 3]),
        ("frame", TensorProto.UINT8, [2, 64, 64, 3]),
        ("frame", TensorProto.UINT8, [64, 64, 3]),
    ],
)
def test_fault_48_other_inputs_are_refused(
    make_bundle: MakeBundle, name: str, elem_type: int, shape: list[int | str]
) -> None:
    """A session whose input is not the contract's is refused before the first frame."""
    path = make_bundle(model=_reshaped(name, elem_type, shape))
    with pytest.raises(BundleError, match="breaks its contract"):
        Translator.load(path, device="cpu", verify=False)


def test_fault_48_a_second_output_is_refused(
    make_bundle: MakeBundle, model: onnx.ModelProto
) -> None:
    """A model with two outputs is not ours."""
    model.graph.output.append(helper.make_tensor_value_info("levels", 1, ["batch", 64, 64, 3]))
    with pytest.raises(BundleError, match="its output should be image"):
        Translator.load(make_bundle(model=model), device="cpu")


@pytest.mark.parametrize("field", ["palette", "golden", "precision", "height"])
def test_fault_49_a_contract_without_a_field_is_refused(
    bundle: Path, tmp_path: Path, field: str
) -> None:
    """The message names the field that is missing."""
    model = onnx.load_model_from_string(bundle.read_bytes())
    document = json.loads(model.metadata_props[0].value)
    del document[field]
    model.metadata_props[0].value = sealed(document)
    bundle.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=field):
        ModelBundle.load(bundle)


def test_fault_49_a_model_without_a_contract_is_refused(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    """Any other ONNX file is told how to become a bundle."""
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="export one with p2p-export"):
        ModelBundle.load(path)


def test_fault_51_a_missing_device_lists_what_there_is(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for CUDA without it never ends on the CPU."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceUnavailableError, match=r"'cuda' is not available.* offers cpu"):
        Translator.load(bundle, device="cuda")


def test_fault_51_a_session_that_fell_back_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the session got is compared with what was asked for."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    monkeypatch.setattr(ort_engine, "_preload", lambda device: None)
    on_cpu = ort.InferenceSession(bundle, providers=["CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **kwargs: on_cpu)
    with pytest.raises(DeviceUnavailableError, match="but got CPUExecutionProvider"):
        open_engine(ModelBundle.load(bundle), "cuda")


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is cuda when onnxruntime offers it, else cpu."""
    offered = ["CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: offered)
    assert resolve_device("auto") == "cpu"
    offered.append("CUDAExecutionProvider")
    assert resolve_device("auto") == "cuda"


def test_without_onnxruntime_the_pip_command_is_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing extra is one line."""
    monkeypatch.delitem(sys.modules, "p2p_runtime.engines.ort")
    monkeypatch.delattr("p2p_runtime.engines.ort", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[cpu\]"):
        resolve_device("auto")


def test_the_session_keys_are_known_to_onnxruntime() -> None:
    """Misspelt keys are accepted in silence, so they are looked for in the library itself."""
    folder = Path(ort.__file__).parent / "capi"
    library = next(folder.glob("onnxruntime_pybind11_state*.so")).read_bytes()
    for key in SESSION_KEYS:
        assert key.encode() in library


def test_a_model_that_fails_on_a_frame_is_an_engine_error(bundle: Path) -> None:
    """What onnxruntime raises while running becomes an EngineError, as does use after close."""
    engine = OrtEngine(ModelBundle.load(bundle))
    with pytest.raises(EngineError, match="failed on cpu"):
        engine.infer(np.zeros((1, 8, 8, 3), np.uint8))
    engine.close()
    with pytest.raises(EngineError, match="is closed"):
        engine.infer(np.zeros((1, 64, 64, 3), np.uint8))


def test_fault_46_a_bomb_inside_the_graph_ends_cleanly(
    make_bundle: MakeBundle, model: onnx.ModelProto
) -> None:
    """A graph that asks for 4 TB is an error, not a killed process."""
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["huge"]))
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0))
    model.graph.node[3].input[0] = "sum"
    with pytest.raises((BundleError, EngineError)):
        Translator.load(make_bundle(model=model), device="cpu")


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    """Importing anything of ours sets the variable that onnxruntime reads at import."""
    code = (
        "import sys, os\n"
        "seen = []\n"
        "class Spy:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'onnxruntime': seen.append(os.environ['ORT_DISABLE_TELEMETRY'])\n"
        "sys.meta_path.insert(0, Spy())\n"
        "import p2p_runtime.engines.ort\n"
        "assert seen == ['1'], seen\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


def test_the_contract_of_a_bundle_is_the_translators(bundle: Path, contract: PixelContract) -> None:
    """What was exported is what `fit` uses."""
    with Translator.load(bundle, device="cpu") as translator:
        assert translator.contract == contract
        assert translator.engine.device == "cpu"
