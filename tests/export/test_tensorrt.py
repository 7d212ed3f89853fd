"""Engines: built by NVIDIA's own builder where it can be installed, by a fake for the device."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest

from commands import p2p_export
from fake_tensorrt import FakeTensorRT
from p2p_export import exporting
from p2p_export.exporting import export
from p2p_export.graph.int8 import int8_graph
from p2p_export.graph.tracing import Graph
from p2p_export.options import ExportOptions
from p2p_export.parity import Reference
from p2p_export.targets import tensorrt as target
from p2p_export.targets.onnx import WrittenBundle
from p2p_export.targets.tensorrt import EngineBuilder, parse_archs
from p2p_runtime.engines.gpu import Gpu
from p2p_runtime.errors import BundleError, ConfigError, DeviceUnavailableError, EngineBuildError
from p2p_runtime.model.trt_manifest import (
    EngineManifest,
    EngineTarget,
    check_manifest,
    manifest_path,
)
from toy_export import write_checkpoint

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed (its wheels are for x86-64 only)",
)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """Return a fake TensorRT, installed on a machine with a GPU of SM 8.7."""
    module = FakeTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(target, "first_gpu", lambda: Gpu(sm="sm87", driver="13.0"))
    return module


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    """Return a file that the fake takes for a model."""
    path = tmp_path / "model-fp16.onnx"
    path.write_bytes(b"graph")
    return path


@pytest.fixture(scope="module")
def int8_for_tensorrt(generator, reference: Reference, tmp_path_factory) -> Graph:
    """Return the toy generator in integers, as TensorRT wants them."""
    folder = tmp_path_factory.mktemp("int8")
    return int8_graph(generator, reference, reference.frames, "tensorrt", folder)


@pytest.mark.parametrize("text", ["sm86,sm120", "8.6, 12.0", "SM_86,120,sm86"])
def test_architectures_are_read_as_people_write_them(text):
    """With or without sm, point and repetition."""
    assert parse_archs(text) == ["sm86", "sm120"]


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ({"tensorrt_rtx": True}, "--gpu-arch sm86"),
        ({"tensorrt_rtx": True, "gpu_arch": "ampere"}, "'ampere' is not a GPU architecture"),
        ({"tensorrt": True, "gpu_arch": "sm86"}, "belongs to --tensorrt-rtx"),
        ({"gpu_arch": "sm86"}, "belongs to --tensorrt-rtx"),
        ({"tensorrt": True, "tensorrt_rtx": True, "gpu_arch": "sm86"}, "choose one"),
    ],
)
def test_engine_flags_that_contradict_are_refused_at_once(flags, hint):
    """Before minutes of export, not after."""
    with pytest.raises(ConfigError, match=hint):
        ExportOptions(**flags)


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nvidia_builds_what_we_export(
    precision, exported: dict[str, WrittenBundle], tmp_path: Path
):
    """Parser and builder take the file for two architectures, without a GPU, and say what of."""
    path = tmp_path / exported[precision].path.name
    path.write_bytes(exported[precision].path.read_bytes())
    builder = EngineBuilder("tensorrt_rtx", ["sm86", "sm120"])
    engines = builder.build(path, precision)
    assert [engine.name for engine in engines] == [
        f"model-{precision}-sm86.engine", f"model-{precision}-sm120.engine",
    ]  # fmt: skip
    assert engines[0].read_bytes() != engines[1].read_bytes()
    manifest = EngineManifest.from_json(manifest_path(engines[0]).read_text())
    assert manifest.target.sm == "sm86"
    assert manifest.target.driver is None
    assert manifest.precision == precision
    assert manifest.shapes == {
        "min": [1, 64, 64, 3], "opt": [1, 64, 64, 3], "max": [8, 64, 64, 3],
    }  # fmt: skip
    assert check_manifest(engines[0], path, manifest.target) == engines[0].read_bytes()


@needs_rtx
def test_nvidia_builds_int8_of_its_own_profile_only(int8_for_tensorrt, exported, tmp_path: Path):
    """The tensorrt profile builds; the one for CPUs is refused in NVIDIA's words, on one line."""
    builder = EngineBuilder("tensorrt_rtx", ["sm86"])
    (tmp_path / "model.onnx").write_bytes(int8_for_tensorrt.content)
    (engine,) = builder.build(tmp_path / "model.onnx", "int8")
    assert engine.stat().st_size > 1000
    with pytest.raises(EngineBuildError, match=r"does not read .*: .*Int32") as caught:
        builder.build(exported["int8"].path, "int8")
    assert "\n" not in str(caught.value)
    assert not list(exported["int8"].path.parent.glob("model-int8-*.engine*"))


@needs_rtx
def test_an_architecture_that_the_library_does_not_know_is_refused():
    """The message lists those that it builds for."""
    with pytest.raises(EngineBuildError, match=r"not build for sm87; it builds for .*sm86, sm89"):
        EngineBuilder("tensorrt_rtx", ["sm86", "sm87"])


@needs_rtx
def test_export_builds_engines_of_every_file_that_tensorrt_reads(
    run, inputs, tmp_path: Path, traced, exported, int8_for_tensorrt, monkeypatch
):
    """With int8, a file of its own beside the one for the CPU; stdout names the engines."""
    for_cpu = Graph(content=exported["int8"].path.read_bytes())
    graphs = {"x86": for_cpu, "tensorrt": int8_for_tensorrt}
    monkeypatch.setattr(exporting, "int8_graph", lambda *words: graphs[words[3]])
    words = ["--output", tmp_path, "--int8", "--calibration", inputs]
    words += ["--tensorrt-rtx", "--gpu-arch", "sm89"]
    done = p2p_export(run, *words)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model-int8.onnx", "model-int8-tensorrt.onnx"} < names
    engines = {"model-fp32-sm89.engine", "model-int8-tensorrt-sm89.engine"}
    assert {name for name in names if name.endswith(".engine")} == engines
    assert {name for name in names if name.endswith(".engine.json")} == {
        f"{name}.json" for name in engines
    }
    assert all(f"{tmp_path / name}  " in done.stdout for name in engines)


def test_one_file_cannot_be_int8_for_two(tmp_path: Path):
    """--output FILE.onnx --int8 with an engine needs the tensorrt profile."""
    output = tmp_path / "m.onnx"
    options = {"output": output, "int8": True, "calibration": tmp_path, "tensorrt": True}
    with pytest.raises(ConfigError, match="--int8-profile tensorrt"):
        ExportOptions(**options)
    one = ExportOptions(int8_profile="tensorrt", **options)
    assert one.output_paths(tmp_path / "best.pt") == {"int8": output}


def test_fault_144_ctrl_c_ends_the_build_of_an_engine(fake: FakeTensorRT, onnx: Path):
    """It takes minutes within the library, where Python's own handler is not asked."""
    before = signal.getsignal(signal.SIGINT)
    EngineBuilder("tensorrt", []).build(onnx, "fp16")
    assert fake.on_ctrl_c is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before


def test_on_the_device_one_strongly_typed_path(fake: FakeTensorRT, onnx: Path):
    """The GPU's name and its driver; no weak-typing flag is ever set."""
    (engine,) = EngineBuilder("tensorrt", []).build(onnx, "fp16")
    assert engine.name == "model-fp16-sm87.engine"
    assert engine.read_bytes() == b"engine of graph"
    document = json.loads(manifest_path(engine).read_text())
    assert document["target"] == {
        "library": "tensorrt", "version": "11.0.0", "sm": "sm87", "driver": "13.0",
    }  # fmt: skip
    assert document["engine_sha256"] == hashlib.sha256(b"engine of graph").hexdigest()
    assert document["onnx_sha256"] == hashlib.sha256(b"graph").hexdigest()
    assert fake.calls == [
        ("network", 2),
        ("clear", "TF32"),
        ("shapes", "frame", (1, 64, 64, 3), (1, 64, 64, 3), (8, 64, 64, 3)),
    ]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            FakeTensorRT(refusal="no such operator\nin Conv_3\n[check] driver"),
            "operator in Conv_3$",
        ),
        (FakeTensorRT(failure="out of tactics"), "builds no engine from .*: out of tactics$"),
    ],
)
def test_what_tensorrt_says_is_quoted(module, message, fake, onnx: Path, monkeypatch):
    """Neither parser nor builder fails with less than its own reason, and no file appears."""
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(EngineBuildError, match=message):
        EngineBuilder("tensorrt", []).build(onnx, "fp16")
    assert [path.name for path in onnx.parent.iterdir()] == [onnx.name]


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_fault_40_without_the_library_the_onnx_stands(name, run, tmp_path, traced, monkeypatch):
    """One line with the pip command and the files that were written, exit code 2."""
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    flag = f"--{name.replace('_', '-')}"
    archs = ["--gpu-arch", "sm86"] if name == "tensorrt_rtx" else []
    done = p2p_export(run, "--output", tmp_path, flag, *archs, exit_code=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {flag}: ")
    assert f'pip install "pix2pix-edge[{flag[2:]}]"' in last
    assert str(tmp_path / "model-fp32.onnx") in last
    assert (tmp_path / "model-fp32.onnx").is_file()


def test_fault_40_off_x86_no_pip_command_would_help(monkeypatch):
    """There is no TensorRT-RTX for ARM, and the message says so."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setattr(target.platform, "machine", lambda: "aarch64")
    with pytest.raises(EngineBuildError, match="x86-64 only"):
        EngineBuilder("tensorrt_rtx", ["sm86"])


def test_fault_40_without_a_gpu_tensorrt_ends_with_4(tmp_path, traced, fake, monkeypatch):
    """The device that was demanded is not there; the ONNX files are."""

    def none() -> Gpu:
        raise DeviceUnavailableError("no NVIDIA driver here")

    monkeypatch.setattr(target, "first_gpu", none)
    checkpoint = write_checkpoint(tmp_path / "best.pt")
    with pytest.raises(DeviceUnavailableError, match=r"--tensorrt .*model-fp32\.onnx") as caught:
        export(ExportOptions(source=checkpoint, tensorrt=True))
    assert caught.value.exit_code == 4
    assert (tmp_path / "export" / "model-fp32.onnx").is_file()


def test_fault_41_a_file_of_the_same_name_does_not_pass(fake, onnx: Path):
    """Exporting again without building again leaves an engine that is refused."""
    (engine,) = EngineBuilder("tensorrt", []).build(onnx, "fp16")
    here = EngineTarget(library="tensorrt", version="11.0.0", sm="sm87")
    assert check_manifest(engine, onnx, here) == b"engine of graph"
    onnx.write_bytes(b"another graph")
    with pytest.raises(
        BundleError, match=r"not built from .*rebuild it with p2p-export --tensorrt"
    ):
        check_manifest(engine, onnx, here)
