"""TensorRT engines in the runtime: only vouched ones, of the contract's shape; with a fake GPU."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_gpu import SHAPE, DataType, FakeDriver, FakeTensorRT, Mode
from p2p_runtime.errors import BundleError, DeviceUnavailableError, EngineError
from p2p_runtime.model.trt_manifest import EngineManifest, EngineTarget, manifest_path
from p2p_runtime.translate import discover
from p2p_runtime.translate.translator import Translator

MakeEngine = Callable[..., Path]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A Jetson Orin's driver."""
    driver = FakeDriver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return driver


@pytest.fixture
def install(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTensorRT]:
    """Return a function that puts a fake TensorRT in the place of the real one."""

    def install(**settings: Any) -> FakeTensorRT:
        fake = FakeTensorRT(driver, **settings)
        monkeypatch.setitem(sys.modules, "tensorrt", fake)
        return fake

    install()
    return install


@pytest.fixture
def engine(bundle: Path) -> Path:
    """Return an engine for that GPU beside the bundle ``model-fp32.onnx``."""
    path = bundle.with_name("model-fp32-sm87.engine")
    path.write_bytes(b"engine")
    manifest = EngineManifest(
        target=EngineTarget(library="tensorrt", version="10.3.0", sm="sm87", driver="12.6"),
        engine_sha256=hashlib.sha256(b"engine").hexdigest(),
        onnx_sha256=hashlib.sha256(bundle.read_bytes()).hexdigest(),
        precision="fp32",
        shapes={"min": [1, 64, 64, 3], "opt": [1, 64, 64, 3], "max": [8, 64, 64, 3]},
        flags=["STRONGLY_TYPED"],
        built_by="pix2pix-edge 0",
    )
    manifest_path(path).write_text(manifest.to_json())
    return path


def test_an_engine_translates_frames(engine: Path, driver: FakeDriver, install: Any) -> None:
    """Frames go to the device and images come back; the golden frame passed before."""
    with Translator.load(engine) as translate:
        assert translate.engine.device == "tensorrt"
        for level in (0, 9):
            images = translate.engine.infer(np.full((2, 64, 64, 3), level, np.uint8))
            assert (images == 255 - level).all()
        images = translate.engine.infer(np.zeros((1, 64, 64, 3), np.uint8))
        assert len(driver.buffers) == 2
    assert (images == 255).all()
    assert driver.buffers == {}
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_fault_41_an_engine_without_a_manifest_is_not_loaded(engine: Path, install: Any) -> None:
    """Executable code that nothing vouches for is refused."""
    manifest_path(engine).unlink()
    with pytest.raises(BundleError, match="no usable manifest"):
        Translator.load(engine)


def test_fault_41_a_changed_engine_is_not_loaded(engine: Path, install: Any) -> None:
    """The bytes must be those that were built."""
    engine.write_bytes(b"evil")
    with pytest.raises(BundleError, match="not those that were built"):
        Translator.load(engine)


def test_fault_50_an_engine_of_another_export_is_refused(
    engine: Path, bundle: Path, install: Any, make_bundle: Callable[..., Path]
) -> None:
    """The ONNX file beside it must be the one that it was built from."""
    from dataclasses import replace

    make_bundle(edit=lambda info: replace(info, provenance={"note": "another export"}))
    with pytest.raises(BundleError, match="was not built from"):
        Translator.load(engine)


def test_fault_50_an_engine_needs_its_onnx_file(engine: Path, bundle: Path, install: Any) -> None:
    """The contract and the golden frame lie in it, so it is named when it is missing."""
    bundle.unlink()
    with pytest.raises(BundleError, match=r"model-fp32\.onnx does not exist"):
        Translator.load(engine)
    with pytest.raises(BundleError, match=r"engine .*no-sm87\.engine does not exist"):
        Translator.load(engine.with_name("no-sm87.engine"))


@pytest.mark.parametrize(
    "ports",
    [
        {"frame": (Mode.INPUT, DataType.UINT8, SHAPE)},
        {
            "frame": (Mode.INPUT, DataType.FLOAT, SHAPE),
            "image": (Mode.OUTPUT, DataType.UINT8, SHAPE),
        },
        {
            "frame": (Mode.INPUT, DataType.UINT8, SHAPE),
            "image": (Mode.OUTPUT, DataType.UINT8, (-1, 32, 64, 3)),
        },
        {
            "frame": (Mode.INPUT, DataType.UINT8, (2, 64, 64, 3)),
            "image": (Mode.OUTPUT, DataType.UINT8, SHAPE),
        },
        {
            "frame": (Mode.OUTPUT, DataType.UINT8, SHAPE),
            "image": (Mode.OUTPUT, DataType.UINT8, SHAPE),
        },
        {
            "frame": (Mode.INPUT, DataType.UINT8, SHAPE),
            "photo": (Mode.OUTPUT, DataType.UINT8, SHAPE),
        },
    ],
    ids=["missing", "type", "size", "batch", "direction", "name"],
)
def test_fault_48_an_engine_with_other_ports_is_refused(
    engine: Path, driver: FakeDriver, install: Any, ports: dict[str, Any]
) -> None:
    """Number, name, direction, type and shape are compared; no memory stays taken."""
    install(ports=ports)
    with pytest.raises(BundleError, match="breaks its contract"):
        Translator.load(engine)
    assert driver.buffers == {}
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_a_run_that_fails_is_an_engine_error(engine: Path, install: Any) -> None:
    """TensorRT's own "no" and another shape are told; so is use after close."""
    with Translator.load(engine) as translator:
        opened = translator.engine
        with pytest.raises(EngineError, match=r"takes .* not"):
            opened.infer(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(EngineError, match="is closed"):
        opened.infer(np.zeros((1, 64, 64, 3), np.uint8))
    install(runs=False)
    with pytest.raises(EngineError, match="failed on tensorrt"):
        Translator.load(engine)


def test_fault_51_an_engine_without_a_gpu_is_exit_4(
    engine: Path, install: Any, driver: Any
) -> None:
    """No driver, no library, or another device: never something else in its place."""
    driver.broken = "cuInit"
    with pytest.raises(DeviceUnavailableError, match="cuInit answered 100"):
        Translator.load(engine)
    driver.broken = "cuMemAlloc_v2"
    with pytest.raises(EngineError, match="cuMemAlloc_v2 answered 100"):
        Translator.load(engine)
    with pytest.raises(DeviceUnavailableError, match="does not run on cpu"):
        Translator.load(engine, device="cpu")
    sys.modules["tensorrt"] = None  # type: ignore[assignment]  # what a missing module looks like
    with pytest.raises(DeviceUnavailableError, match=r"pip install .*cpu,tensorrt\]"):
        Translator.load(engine)


def test_a_folder_gives_tensorrt_the_engine_of_this_gpu(engine: Path, driver: FakeDriver) -> None:
    """By name only: other devices, and GPUs without an engine, get the ONNX file."""
    folder = str(engine.parent)
    assert discover.find_bundle(folder, "tensorrt") == engine
    assert discover.find_bundle(folder, "cuda").name == "model-fp32.onnx"
    engine.rename(engine.with_name("model-fp32-sm120.engine"))
    assert discover.find_bundle(folder, "tensorrt").name == "model-fp32.onnx"
