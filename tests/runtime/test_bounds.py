"""Sizes that a small file states are bounded before memory is taken for them."""

from __future__ import annotations

import logging
import os
import struct
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from commands import python
from p2p_runtime import tls
from p2p_runtime.engines.ort import FOLDED_BYTES
from p2p_runtime.errors import SourceError
from p2p_runtime.video.sources import decoder
from p2p_runtime.video.sources.captures import NetworkCapture, PipeCapture
from p2p_runtime.video.sources.videofile import VideoFileSource
from toy_runtime import MakeBundle

SIDE = 12_000


def _video(path: Path, codec: str, pixels: str) -> bytearray:
    """Write a tiny video, and return its bytes."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64), np.uint8), "gray")
        container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))
    return bytearray(path.read_bytes())


def _huge(folder: Path, kind: str) -> Path:
    """Return a small video that states frames of 144 megapixels."""
    path = folder / f"huge.{kind}"
    if kind == "y4m":
        path.write_bytes(b"YUV4MPEG2 W%d H%d F25:1 Ip C420jpeg\nFRAME\n" % (SIDE, SIDE))
    elif kind == "gif":
        content = _video(path, "gif", "gray")
        content[6:10] = struct.pack("<HH", SIDE, SIDE)
        path.write_bytes(content)
    elif kind == "avi":
        content = _video(path, "ffv1", "gray")
        content[64:72] = struct.pack("<II", SIDE, SIDE)  # avih
        format_ = content.index(b"strf") + 12
        content[format_ : format_ + 8] = struct.pack("<II", SIDE, SIDE)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["y4m", "gif", "avi"])
def test_fault_146_a_small_video_of_huge_frames_is_refused(tmp_path: Path, kind: str) -> None:
    """By what it states, in one line, before a frame takes memory."""
    path = _huge(tmp_path, kind)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from p2p_runtime.errors import SourceError\n"
        "from p2p_runtime.video.sources.videofile import VideoFileSource\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    VideoFileSource(Path(sys.argv[1]))\n"
        "except SourceError as error:\n"
        "    print(error)\n"
        "else:\n"
        "    raise SystemExit('it was read')\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000\n"
    )
    told = python(code, path)
    assert f"{SIDE}x{SIDE}" in told
    assert "80 megapixels" in told


def test_fault_146_frames_that_outgrow_their_header_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header states 64x48, and the second PNG more than may be; the others are kept."""
    monkeypatch.setattr(decoder, "LARGEST_PIXELS", 99 * 99)
    path = tmp_path / "a.mov"
    with av.open(path, "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for index, shape in enumerate([(48, 64), (100, 100), (48, 64)]):
            packet = av.Packet(cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes())
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            container.mux(packet)
    source = VideoFileSource(path)
    assert [task.image.shape for task in source] == [(48, 64, 3)] * 2
    assert source.frames_lost == 1


def test_fault_146_a_server_states_huge_frames(tmp_path: Path) -> None:
    """A stream is refused as a file is."""
    video = _huge(tmp_path, "y4m").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(video)))
            self.end_headers()
            self.wfile.write(video)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        with pytest.raises(SourceError, match="80 megapixels"):
            NetworkCapture(f"http://127.0.0.1:{web.server_address[1]}/a", 5.0, None)
        web.shutdown()


def test_fault_146_raw_frames_are_bounded() -> None:
    """A slip of the finger in --size is told before the buffer is there."""
    with pytest.raises(SourceError, match="99999x99999"):
        PipeCapture(99_999, 99_999, 25.0, None, os.open(os.devnull, os.O_RDONLY))


def test_fault_147_the_variable_alone_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A variable that was left from another day is told once, and 0 is as if it were not there."""
    tls._tell_insecure.cache_clear()
    monkeypatch.setenv(tls.INSECURE, "0")
    assert tls.verified_tls()
    assert not caplog.records
    monkeypatch.setenv(tls.INSECURE, "1")
    with caplog.at_level(logging.WARNING):
        tls.verified_tls()
        tls.verified_tls()
    assert [tls.INSECURE in record.message for record in caplog.records] == [True]


def _growing(model: onnx.ModelProto, operator: str) -> onnx.ModelProto:
    """Let a model make 256 MB of 64 KB at most, from constants alone."""
    constants = {"first": np.zeros((1, 1 << 10), np.float32)}
    if operator == "Concat":  # each doubles what was before
        nodes = [
            helper.make_node("Concat", [name, name], [f"{name}d"], axis=0)
            for name in ("first" + "d" * times for times in range(16))
        ]
    elif operator == "Add":
        constants = {"first": np.zeros((1 << 13, 1), np.float32)}
        constants["row"] = constants["first"].T
        nodes = [helper.make_node("Add", ["first", "row"], ["grown"])]
    else:
        constants |= {"sides": np.array([1 << 16, 0, 0, 0], np.int64)}
        nodes = [helper.make_node("Pad", ["first", "sides"], ["grown"])]
    grown = nodes[-1].output[0]
    nodes.append(helper.make_node("ReduceMax", [grown], ["zero"], keepdims=0))
    nodes.append(helper.make_node("Add", ["white", "zero"], ["bright"]))
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.node[-2].input[0] = "bright"
    return model


KNOWS_THE_LIMIT = pytest.mark.skipif(
    tuple(map(int, ort.__version__.split(".")[:2])) < (1, 27),
    reason="this onnxruntime does not know the limit: it makes all while the model is loaded",
)


@KNOWS_THE_LIMIT
@pytest.mark.parametrize("operator", ["Concat", "Add", "Pad"])
def test_fault_146_a_model_does_not_grow_while_it_is_loaded(
    make_bundle: MakeBundle, model: onnx.ModelProto, operator: str
) -> None:
    """Whatever the operator: what is large is left to the run, which is bounded, too."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from p2p_runtime.engines import ort\n"
        "from p2p_runtime.memory import peak_rss_mib\n"
        "from p2p_runtime.model.bundle import ModelBundle\n"
        "ort.LARGEST_FOLDED_BYTES = 16 << 20\n"
        "before = peak_rss_mib()\n"
        "ort.OrtEngine(ModelBundle.load(Path(sys.argv[1])))\n"
        "print(peak_rss_mib() - before)\n"
    )
    assert float(python(code, make_bundle(model=_growing(model, operator)))) < 100


@KNOWS_THE_LIMIT
@pytest.mark.parametrize("operator", ["Concat", "Add", "Pad"])
def test_fault_146_a_model_takes_no_more_memory_than_there_is(
    make_bundle: MakeBundle, model: onnx.ModelProto, operator: str
) -> None:
    """A run that would need more is an error, on a machine with 256 MB here."""
    code = (
        "import os, sys\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from p2p_runtime.engines import ort\n"
        "from p2p_runtime.errors import BundleError, EngineError\n"
        "from p2p_runtime.model.bundle import ModelBundle\n"
        "ort.LARGEST_FOLDED_BYTES = 16 << 20\n"
        "whole = {'SC_PAGE_SIZE': 4096, 'SC_PHYS_PAGES': 1 << 16}\n"
        "os.sysconf = whole.__getitem__\n"
        "try:\n"
        "    engine = ort.OrtEngine(ModelBundle.load(Path(sys.argv[1])))\n"
        "    engine.infer(np.zeros((1, 64, 64, 3), np.uint8))\n"
        "except EngineError as error:\n"
        "    print(error)\n"
    )
    assert "failed on cpu" in python(code, make_bundle(model=_growing(model, operator)))


@KNOWS_THE_LIMIT
def test_the_limit_of_folding_is_spelt_as_the_library_spells_it() -> None:
    """A misspelt key is accepted in silence."""
    folder = Path(ort.__file__).parent / "capi"
    library = next(folder.glob("onnxruntime_pybind11_state*.so")).read_bytes()
    assert FOLDED_BYTES.encode() in library
