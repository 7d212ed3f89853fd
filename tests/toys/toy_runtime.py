"""Tiny bundles and videos that behave like real ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import commands
from commands import Run
from p2p_runtime.engines import UninterruptibleEngine
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.yuv import Picture
from p2p_runtime.model.bundle import METADATA_KEY, BundleInfo
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.onnx_check import payload_sha256
from p2p_runtime.translate.preprocess import Preprocessor
from p2p_runtime.video.frames import FrameTask

SIDE_PX = 64
Image = NDArray[np.uint8]
MakeBundle = Callable[..., Path]


class Inverter(UninterruptibleEngine):
    """An engine that inverts colours."""

    device = "cpu"

    def infer(self, frames: Image) -> Image:
        return 255 - frames

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """Every thread that begins in a test also ends; what others left running does not count."""
    before = set(threading.enumerate())
    yield
    for _ in range(500):  # one that was told to stop may need a moment
        if not set(threading.enumerate()) - before:
            return
        time.sleep(0.01)
    raise AssertionError(f"still running: {set(threading.enumerate()) - before}")


@pytest.fixture
def contract() -> PixelContract:
    """The contract of every bundle here."""
    return PixelContract(height=SIDE_PX, width=SIDE_PX, palette=CITYSCAPES)


def inverting_model(elem_type: int = TensorProto.UINT8, side: int = SIDE_PX) -> onnx.ModelProto:
    """A generator that inverts colours: ``image = 255 - frame``."""
    nodes = [
        helper.make_node("Cast", ["frame"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["white", "levels"], ["inverted"]),
        helper.make_node("Cast", ["inverted"], ["image"], to=elem_type),
    ]
    shape = ["batch", side, side, 3]
    graph = helper.make_graph(
        nodes,
        "inverting",
        [helper.make_tensor_value_info("frame", elem_type, shape)],
        [helper.make_tensor_value_info("image", elem_type, shape)],
        [numpy_helper.from_array(np.float32(255), "white")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def model() -> onnx.ModelProto:
    """A model without metadata, to be changed and saved by a test."""
    return inverting_model()


@pytest.fixture
def make_bundle(tmp_path: Path, contract: PixelContract) -> MakeBundle:
    """Return a function that writes a bundle, by default a correct one."""

    def make(
        name: str = "model-fp32.onnx",
        model: onnx.ModelProto | None = None,
        edit: Callable[[BundleInfo], BundleInfo] = lambda info: info,
    ) -> Path:
        model = model or inverting_model()
        golden = GoldenFrame.record(255 - GoldenFrame.draw(contract, 1), 1)
        info = BundleInfo(
            contract=contract,
            precision="fp32",
            golden=golden,
            payload_sha256=payload_sha256(model.SerializeToString()),
        )
        helper.set_model_props(model, {METADATA_KEY: edit(info).to_json()})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    """A correct bundle."""
    return make_bundle()


@pytest.fixture
def p2p_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command ``p2p-run``, in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return commands.p2p_run


@pytest.fixture
def toy_run(p2p_run: Run, bundle: Path) -> Run:
    """The command ``p2p-run``, in the test's folder, with the toy model and one thread."""
    return partial(p2p_run, "--model", bundle, "--threads", 1)


@pytest.fixture
def wrong_golden(make_bundle: MakeBundle, contract: PixelContract) -> Path:
    """A bundle whose golden frame expects another generator."""
    golden = GoldenFrame.record(GoldenFrame.draw(contract, 1), 1)
    return make_bundle("wrong-fp32.onnx", edit=lambda info: replace(info, golden=golden))


def input_of(preprocessor: Preprocessor, picture: Picture) -> Image:
    """Return the generator's input, (height, width, 3) uint8 BGR, of the next frame."""
    task = FrameTask(picture=picture)
    preprocessor.admit(task)
    preprocessor.complete(task)
    assert task.input is not None
    return task.input.pixels


def label_frame(index: int, height: int = 48, width: int = 64) -> Image:
    """A label map with a bar that moves: (H, W, 3) uint8 BGR in Cityscapes colours."""
    colours = CITYSCAPES.colours_bgr()
    frame = np.full((height, width, 3), colours[18], np.uint8)
    frame[height // 2 :] = colours[3]
    left = (index * 4) % (width - 8)
    frame[height // 3 :, left : left + 8] = colours[21]
    return frame


@pytest.fixture
def frames() -> list[Image]:
    """Twenty label maps of 48 x 64 px."""
    return [label_frame(index) for index in range(20)]


def write_video(path: Path, frames: list[Image], codec: str = "libx264", fps: int = 10) -> Path:
    """Write frames as a video file, MP4 with its index at the end."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = {"ffv1": "bgr0", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.gop_size = 5
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def save_video(tmp_path: Path) -> Callable[..., Path]:
    """Return ``write_video`` for names in the test's folder."""

    def save(name: str, frames: list[Image], codec: str = "libx264", fps: int = 10) -> Path:
        return write_video(tmp_path / name, frames, codec, fps)

    return save


@pytest.fixture
def video(tmp_path: Path, frames: list[Image]) -> Path:
    """An MP4 of the twenty frames at 10 frames a second."""
    return write_video(tmp_path / "seg.mp4", frames)


@pytest.fixture
def lossless(tmp_path: Path, frames: list[Image]) -> Path:
    """A Matroska file of the twenty frames in which every pixel is exact."""
    return write_video(tmp_path / "seg.mkv", frames, codec="ffv1")


@pytest.fixture
def pictures(tmp_path: Path, frames: list[Image]) -> Path:
    """A folder with the twenty frames as PNGs: frame0.png ... frame19.png."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for index, frame in enumerate(frames):
        (folder / f"frame{index}.png").write_bytes(cv2.imencode(".png", frame)[1].tobytes())
    return folder


@pytest.fixture
def read_frames() -> Callable[[Path], list[Image]]:
    """Return a function that reads all frames of a video as (H, W, 3) uint8 BGR."""

    def read(path: Path) -> list[Image]:
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]

    return read
