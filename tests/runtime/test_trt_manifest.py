"""An engine is loaded only if its manifest vouches for it."""

from __future__ import annotations

import ctypes
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fake_gpu import FakeDriver
from p2p_runtime.engines import gpu
from p2p_runtime.errors import BundleError, ContractError, DeviceUnavailableError
from p2p_runtime.model.trt_manifest import (
    EngineManifest,
    EngineTarget,
    check_manifest,
    manifest_path,
)

HERE = EngineTarget(library="tensorrt_rtx", version="1.7.1.116", sm="sm86", driver="13.0")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Return an engine with its manifest, and ``model.onnx`` beside it."""
    (tmp_path / "model.onnx").write_bytes(b"graph")
    path = tmp_path / "model-sm86.engine"
    path.write_bytes(b"engine")
    manifest = EngineManifest(
        target=replace(HERE, driver=None),
        engine_sha256=hashlib.sha256(b"engine").hexdigest(),
        onnx_sha256=hashlib.sha256(b"graph").hexdigest(),
        precision="fp16",
        shapes={"min": [1, 64, 64, 3], "opt": [1, 64, 64, 3], "max": [8, 64, 64, 3]},
        flags=["STRONGLY_TYPED"],
        built_by="pix2pix-edge 0",
    )
    manifest_path(path).write_text(manifest.to_json())
    assert EngineManifest.from_json(manifest.to_json()) == manifest
    return path


def test_an_engine_that_matches_is_returned(engine: Path):
    """The bytes that were checked come back; another driver does not matter."""
    assert check_manifest(engine, engine.with_name("model.onnx"), HERE) == b"engine"


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (replace(HERE, sm="sm89"), "for tensorrt_rtx 1.7.1.116 on sm86, and this is .* on sm89"),
        (replace(HERE, version="1.8"), "and this is tensorrt_rtx 1.8"),
        (replace(HERE, library="tensorrt"), "rebuild it with p2p-export --tensorrt$"),
    ],
)
def test_fault_41_another_gpu_or_library_is_refused(engine: Path, here: EngineTarget, said: str):
    """The message says what the engine is for, what this is, and how to rebuild."""
    with pytest.raises(BundleError, match=said):
        check_manifest(engine, engine.with_name("model.onnx"), here)


@pytest.mark.parametrize("name", ["model-sm86.engine", "model.onnx"])
def test_fault_41_other_bytes_are_refused(engine: Path, name: str):
    """One byte more in the engine, or in the ONNX file that it was built from."""
    with engine.with_name(name).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=r"is refused: .*rebuild it with p2p-export"):
        check_manifest(engine, engine.with_name("model.onnx"), HERE)


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: document.update(engine_sha256="0" * 64),
        lambda document: document.update(onnx_sha256="0" * 64),
        lambda document: document["target"].update(sm="sm120"),
        lambda document: document.update(format=2),
        lambda document: document.pop("precision"),
        lambda document: document.update(surprise=1),
        lambda document: document["target"].pop("version"),
        lambda document: document.update(flags="x" * (1 << 17)),
    ],
    ids=["engine", "onnx", "sm", "format", "missing", "added", "version", "huge"],
)
def test_fault_41_an_edited_manifest_is_refused(engine: Path, edit):
    """A changed, missing or added field: no engine of it is loaded."""
    path = manifest_path(engine)
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="rebuild it with p2p-export --tensorrt-rtx"):
        check_manifest(engine, engine.with_name("model.onnx"), HERE)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff", b"[]", b"{}", b"[" * 60_000],
    ids=["missing", "empty", "binary", "list", "object", "deep"],
)
def test_fault_41_without_a_readable_manifest_nothing_is_loaded(engine: Path, content):
    """Missing, empty, not text, not JSON, not an object, nested without end."""
    path = manifest_path(engine)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match="no usable manifest"):
        check_manifest(engine, engine.with_name("model.onnx"), HERE)


def test_a_manifest_of_another_format_says_which():
    """A newer program's manifest is not guessed at."""
    with pytest.raises(ContractError, match="format 9 is unknown"):
        EngineManifest.from_json('{"format": 9}')


def test_the_driver_names_the_gpu(monkeypatch):
    """Compute capability 8.7 is sm87, driver version 12060 is 12.6."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver())
    assert gpu.first_gpu() == gpu.Gpu(sm="sm87", driver="12.6")


@pytest.mark.parametrize("broken", ["cuInit", "cuDeviceGet", "cuDeviceGetAttribute"])
def test_fault_40_a_driver_without_a_gpu_is_no_device(broken: str, monkeypatch):
    """What failed is named, with the driver's own number."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeDriver(broken))
    with pytest.raises(DeviceUnavailableError, match=f"{broken} answered 100"):
        gpu.first_gpu()


def test_fault_40_no_driver_is_no_device(monkeypatch):
    """Most machines without a GPU have no libcuda at all."""
    monkeypatch.setattr(gpu, "DRIVER", "libcuda-that-is-not-there.so")
    with pytest.raises(DeviceUnavailableError, match="no NVIDIA driver here"):
        gpu.first_gpu()
