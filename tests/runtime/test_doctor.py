"""The doctor: what is there, why something is not, and an exit code for scripts."""

from __future__ import annotations

import ctypes
from pathlib import Path

import av
import cv2
import onnxruntime as ort
import pytest

from fake_gpu import FakeDriver
from p2p_runtime.app import doctor
from p2p_runtime.engines import gpu, ort_gpu
from p2p_runtime.errors import MissingExtraError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate import discover
from p2p_runtime.translate.preprocess import Preprocessor


def lines(start: str) -> list[str]:
    """Return the findings that begin so, after their mark."""
    return [str(one) for one in doctor.examine() if one.text.startswith(start)]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on this machine's GPU."""
    monkeypatch.setattr(gpu, "DRIVER", "libcuda-that-is-not-there.so")


def test_what_need_not_be_there_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU the CPU can run; why there is no CUDA is said."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    findings = doctor.examine()
    assert all(finding.healthy for finding in findings)
    (cuda,) = lines("device cuda")
    assert cuda.startswith("no  ")
    assert "pix2pix-edge[gpu]" in cuda
    assert lines("GPU")[0].startswith("no  GPU: no NVIDIA driver here")


def test_the_cpu_is_tried_and_not_only_asked() -> None:
    """The shipped model's golden frame is replayed."""
    (cpu,) = lines("device cpu")
    assert cpu.startswith("ok  ")
    assert "computes here what it did" in cpu


def test_a_cpu_that_computes_something_else_is_bad(
    wrong_golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the exporter's machine computed must come out."""
    monkeypatch.setattr(discover, "DEMO_MODELS", wrong_golden.parent)
    (cpu,) = lines("device cpu")
    assert cpu.startswith("BAD ")
    assert "does not compute" in cpu


def test_a_gpu_wheel_without_a_gpu_says_which_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is offered by the wheel, the driver is not there."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    assert lines("device cuda")[0].startswith("no  device cuda: no NVIDIA driver")


def test_a_gpu_and_tensorrt_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architecture, driver and TensorRT's version; a TensorRT that does not load is named."""
    driver = FakeDriver()
    driver.getInferLibVersion = lambda: 100300  # type: ignore[method-assign]  # a fake of one call
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    assert lines("GPU") == ["ok  GPU: sm87, driver for CUDA 12.6"]
    assert "TensorRT 100300" in lines("device tensorrt")[0]

    def refuse(name: str) -> FakeDriver:
        if name == ort_gpu.LIBRARY:
            raise OSError("no such library")
        return driver

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert lines("device tensorrt")[0].startswith("no  device tensorrt: TensorRT 10 cannot be")


def test_a_jetson_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its device tree, its release file and its power mode; the common GPU wheel is not for it."""
    model, release = tmp_path / "model", tmp_path / "release"
    model.write_bytes(b"NVIDIA Jetson Orin Nano\0")
    release.write_text("# R36 (release), REVISION: 4.3\nmore\n")
    monkeypatch.setattr(doctor, "JETSON_MODEL", model)
    monkeypatch.setattr(doctor, "JETSON_RELEASE", release)
    (tmp_path / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\necho 0\n")
    (tmp_path / "nvpmodel").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    (jetson,) = lines("NVIDIA Jetson")
    assert jetson == "ok  NVIDIA Jetson Orin Nano, # R36 (release), REVISION: 4.3, JetPack 6"
    assert lines("power mode")[0].startswith("ok  power mode: 15W;")
    (cuda,) = lines("device cuda")
    assert "docs/jetson.md" in cuda
    assert "pip install" not in cuda


def test_a_jetson_that_does_not_tell_its_power_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor goes on."""
    model, program = tmp_path / "model", tmp_path / "nvpmodel"
    model.write_bytes(b"NVIDIA Jetson AGX Thor\0")
    program.write_text("no program")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "JETSON_MODEL", model)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert lines("power mode")[0].startswith("no  power mode: ")
    assert lines("device cpu")[0].startswith("ok  ")


def test_fault_72_an_encoder_that_is_missing_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it no video can be written; decoders that lack are told."""
    real = doctor.has_codec
    monkeypatch.setattr(
        doctor, "has_codec", lambda name, mode: mode == "r" and name != "av1" and real(name, mode)
    )
    assert lines("av has no libx264")[0].startswith("BAD ")
    assert "no  video decoders: av1" in lines("video decoders")


def test_fault_141_the_doctor_decodes_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyAV that lists its codecs and still cannot open a video is bad."""
    assert lines("av ") == [f"ok  av {av.__version__} decodes the demo video, 512x256"]

    def refuse(name: str, **options: object) -> None:
        raise TypeError("open() got an unexpected keyword argument")

    monkeypatch.setattr(av, "open", refuse)
    (line,) = lines("av ")
    assert line.startswith("BAD av")
    assert "does not decode the demo video: open() got an unexpected keyword" in line


def test_an_opencv_without_windows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headless wheels translate, but cannot show."""
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   NONE\n")
    assert lines("OpenCV windows")[0].startswith("no  OpenCV windows: none")


@pytest.mark.parametrize(("version", "good"), [("4.12.0", False), ("4.13.0-dev", True)])
def test_an_opencv_that_is_too_old_is_bad(
    version: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jetson's own OpenCV may hide the wheel; a run says the same before its first frame."""
    monkeypatch.setattr(cv2, "__version__", version)
    contract = PixelContract(height=8, width=8, palette=CITYSCAPES)
    if good:
        Preprocessor(contract)
        assert not lines("label repair needs")
        return
    assert lines("label repair needs")[0].startswith("BAD label repair needs OpenCV 4.13")
    with pytest.raises(MissingExtraError, match=r"opencv-python>=4\.13"):
        Preprocessor(contract)
    Preprocessor(contract, repair_labels=False)
