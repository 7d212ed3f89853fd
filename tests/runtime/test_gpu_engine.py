"""ONNX Runtime's GPU providers as far as a CPU can tell: strict, bound, cached by the right key."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from fake_gpu import FakeDriver
from p2p_runtime.engines import ort as ort_engine
from p2p_runtime.engines import ort_gpu
from p2p_runtime.engines.ort_gpu import OrtGpuEngine, TrtCache, tensorrt_version
from p2p_runtime.errors import DeviceUnavailableError, EngineError
from p2p_runtime.model.bundle import ModelBundle

ALLOCATE, FROM_SHAPE = (
    ort.OrtValue.ortvalue_from_numpy,
    ort.OrtValue.ortvalue_from_shape_and_type,
)


@pytest.mark.skipif(
    "AzureExecutionProvider" not in ort.get_available_providers(),
    reason="this onnxruntime has no second provider that runs nothing",
)
def test_fault_52_a_device_that_cannot_run_all_is_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that would go to the CPU are an error, though the session names the other provider."""
    monkeypatch.setitem(ort_engine.PROVIDERS, "azure", "AzureExecutionProvider")
    monkeypatch.setattr(ort_engine, "_preload", lambda device: None)
    loaded = ModelBundle.load(bundle)
    with pytest.raises(DeviceUnavailableError, match="azure cannot run all of") as caught:
        ort_engine.open_session(loaded, "azure", ort_engine.session_options("azure"))
    assert caught.value.exit_code == 4


@pytest.fixture
def gpu(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Pretend that the CPU is a GPU, and note what its provider is asked."""
    asked: list[dict[str, str]] = []
    pretended = SimpleNamespace(asked=asked, fails_with_graph=False)

    def open_session(bundle: Any, device: str, options: Any, provider_options: Any) -> Any:
        asked.append(dict(provider_options))
        opened = ort.InferenceSession(bundle.path, providers=["CPUExecutionProvider"])
        if pretended.fails_with_graph and provider_options["enable_cuda_graph"] == "1":

            def fail(binding: Any) -> None:
                raise RuntimeError("cannot capture")

            opened.run_with_iobinding = fail
        return opened

    monkeypatch.setattr(ort_gpu, "open_session", open_session)
    monkeypatch.setattr(
        ort.OrtValue, "ortvalue_from_numpy", staticmethod(lambda array, memory, n: ALLOCATE(array))
    )
    monkeypatch.setattr(
        ort.OrtValue,
        "ortvalue_from_shape_and_type",
        staticmethod(lambda shape, kind, memory, n: FROM_SHAPE(shape, kind)),
    )
    return pretended


def test_frames_go_through_bound_buffers(bundle: Path, gpu: SimpleNamespace) -> None:
    """Batches are translated frame by frame, and images are copies."""
    engine = OrtGpuEngine(ModelBundle.load(bundle), device="cuda")
    frames = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (0, 7, 255)])
    images = engine.infer(frames)
    np.testing.assert_array_equal(images, 255 - frames)
    engine.infer(frames[:1])
    np.testing.assert_array_equal(images, 255 - frames)
    assert gpu.asked == [{"enable_cuda_graph": "1"}]
    with pytest.raises(EngineError, match="takes"):
        engine.infer(np.zeros((1, 8, 8, 3), np.uint8))
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(frames)


def test_without_a_cuda_graph_it_runs_and_says_so(
    bundle: Path, gpu: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A graph that cannot be captured is told, not hidden."""
    gpu.fails_with_graph = True
    with caplog.at_level(logging.WARNING):
        engine = OrtGpuEngine(ModelBundle.load(bundle), device="cuda")
    assert "without a CUDA graph" in caplog.text
    assert [options["enable_cuda_graph"] for options in gpu.asked] == ["1", "0"]
    assert (engine.infer(np.zeros((1, 64, 64, 3), np.uint8)) == 255).all()


def test_a_cuda_graph_that_was_asked_for_stays(bundle: Path, gpu: SimpleNamespace) -> None:
    """A benchmark's row is what its name says: with a graph, or without, and nothing else."""
    OrtGpuEngine(ModelBundle.load(bundle), device="cuda", graph=False)
    assert [options["enable_cuda_graph"] for options in gpu.asked] == ["0"]
    gpu.fails_with_graph = True
    with pytest.raises(EngineError):
        OrtGpuEngine(ModelBundle.load(bundle), device="cuda", graph=True)


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A GPU and a TensorRT 10.3."""
    driver = FakeDriver()
    driver.getInferLibVersion = lambda: 100300  # type: ignore[method-assign]  # a stand-in
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    return driver


def test_tensorrt_keeps_its_engine_beside_the_model(
    bundle: Path, gpu: SimpleNamespace, tensorrt: FakeDriver
) -> None:
    """The provider gets static shapes and a folder of its own, and no precision of its own."""
    engine = OrtGpuEngine(ModelBundle.load(bundle), device="tensorrt")
    (options,) = gpu.asked
    folder = Path(options["trt_engine_cache_path"])
    assert folder.parent == bundle.parent / ".tensorrt"
    assert options["trt_profile_max_shapes"] == "frame:1x64x64x3"
    assert not [key for key in options if "fp16" in key or "int8" in key]
    assert (folder / "seal.json").is_file()
    engine.close()


@pytest.mark.parametrize("fact", ["model", "onnxruntime", "tensorrt", "gpu"])
def test_another_model_library_or_gpu_has_another_folder(
    bundle: Path, tensorrt: FakeDriver, monkeypatch: pytest.MonkeyPatch, fact: str
) -> None:
    """onnxruntime#6455: an engine of a model of the same structure gives wrong pictures."""
    from dataclasses import replace

    loaded = ModelBundle.load(bundle)
    before = TrtCache(loaded).folder
    assert TrtCache(loaded).folder == before
    if fact == "model":
        loaded = replace(loaded, info=replace(loaded.info, payload_sha256="0" * 64))
    elif fact == "onnxruntime":
        monkeypatch.setattr(ort, "__version__", "0")
    elif fact == "tensorrt":
        tensorrt.getInferLibVersion = lambda: 101600  # type: ignore[method-assign]  # a stand-in
    else:
        monkeypatch.setattr(ort_gpu, "first_gpu", lambda: SimpleNamespace(sm="sm120"))
    assert TrtCache(loaded).folder != before


def _change(folder: Path) -> None:
    (folder / "a.engine").write_bytes(b"evil")


def _add(folder: Path) -> None:
    (folder / "b.engine").write_bytes(b"evil")


def _unseal(folder: Path) -> None:
    (folder / "seal.json").unlink()


@pytest.mark.parametrize("tamper", [_change, _add, _unseal])
def test_a_cache_that_was_changed_is_built_again(
    bundle: Path, tensorrt: FakeDriver, tamper: Callable[[Path], None]
) -> None:
    """Executable code that we did not put there is not loaded (rule R13)."""
    cache = TrtCache(ModelBundle.load(bundle))
    cache.provider_options()
    (cache.folder / "a.engine").write_bytes(b"engine")
    cache.seal()
    assert (TrtCache(ModelBundle.load(bundle)).folder / "a.engine").exists()
    tamper(cache.folder)
    assert not TrtCache(ModelBundle.load(bundle)).folder.exists()


def test_a_folder_that_cannot_be_made_is_told(
    bundle: Path, tensorrt: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine is then built at every start."""
    (bundle.parent / ".tensorrt").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        cache = TrtCache(ModelBundle.load(bundle))
        assert cache.provider_options() == {}
        cache.seal()
    assert "every start builds it" in caplog.text


def test_fault_40_tensorrt_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the pip command."""
    monkeypatch.setattr(ort_gpu, "LIBRARY", "libnvinfer-that-is-not-there.so")
    with pytest.raises(DeviceUnavailableError, match=r"pip install .*gpu,tensorrt\]"):
        tensorrt_version()
