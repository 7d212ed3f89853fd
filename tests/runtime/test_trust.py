"""Models, servers and streams are checked before anything trusts them."""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from commands import p2p_run
from p2p_runtime import tls
from p2p_runtime.engines.ort import OrtEngine
from p2p_runtime.errors import BundleError, SinkError, SourceError, SourceLostError
from p2p_runtime.model import onnx_check
from p2p_runtime.model.bundle import METADATA_KEY, ModelBundle, sealed
from p2p_runtime.pictures import LARGEST_PIXELS
from p2p_runtime.video.frames import VideoInfo
from p2p_runtime.video.sinks import open_sink, push
from p2p_runtime.video.sources import open_source
from p2p_runtime.video.sources.captures import NetworkCapture
from toy_runtime import MakeBundle, label_frame, write_video


def test_fault_143_no_bit_of_a_bundle_may_flip(bundle: Path) -> None:
    """Weights, graph, palette, golden frame and digests: every bit of the file counts."""
    whole = bundle.read_bytes()
    ModelBundle.load(bundle)
    bits = np.random.default_rng(1).permutation(8 * len(whole))[:500]
    inside = 8 * whole.index(b"colours_rgb") + np.arange(0, 200)
    for bit in [*bits.tolist(), *inside.tolist()]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        bundle.write_bytes(changed)
        with pytest.raises(BundleError):
            ModelBundle.load(bundle)


def _edited(bundle: Path, text: str) -> None:
    model = onnx.load_model_from_string(bundle.read_bytes())
    helper.set_model_props(model, {METADATA_KEY: text})
    bundle.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("edit", ["a colour", "blanks", "no digest", "resealed"])
def test_fault_143_edited_metadata_are_refused(bundle: Path, edit: str) -> None:
    """A text that says the same in other characters is not what was exported, either."""
    model = onnx.load_model_from_string(bundle.read_bytes())
    text = model.metadata_props[0].value
    document = json.loads(text)
    if edit == "a colour":
        document["palette"]["colours_rgb"][0][0] ^= 1
        text = json.dumps(document, sort_keys=True)
    elif edit == "blanks":
        text += " "
    elif edit == "no digest":
        del document["metadata_sha256"]
        text = json.dumps(document, sort_keys=True)
    else:
        text = sealed(document)
    _edited(bundle, text)
    if edit == "resealed":
        ModelBundle.load(bundle)
    else:
        with pytest.raises(BundleError, match="export"):
            ModelBundle.load(bundle)


@pytest.mark.parametrize("change", ["swapped", "cut", "gone", "in place"])
def test_fault_149_what_was_checked_is_opened(bundle: Path, change: str) -> None:
    """The engine gets the bytes that were checked; of a file that changes, no other one opens."""
    checked = ModelBundle.load(bundle)
    content = bundle.read_bytes()
    if change == "gone":
        bundle.unlink()
    elif change == "cut":
        with bundle.open("r+b") as file:
            file.truncate(100)
    elif change == "swapped":
        other = bundle.with_name("other")
        other.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        other.replace(bundle)
    else:
        with bundle.open("r+b") as file:
            file.write(b"\0")
    OrtEngine(checked).close()
    with pytest.raises(BundleError, match=r"was changed|cannot read"):
        OrtEngine(checked)


@pytest.mark.parametrize("where", ["graph", "model", "node"])
def test_fault_136_millions_of_fields_are_not_read(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The number of fields is bounded, wherever they stand."""
    monkeypatch.setattr(onnx_check, "MAX_FIELDS", 5000)
    path = tmp_path / "many.onnx"
    if where == "graph":
        model.graph.node.extend([helper.make_node("Identity", ["a"], ["b"])] * 1500)
    elif where == "node":
        model.graph.node[0].input.extend(["a"] * 6000)
    extra = b"\x28\x01" * 6000 if where == "model" else b""  # model_version, again and again
    path.write_bytes(model.SerializeToString() + extra)
    with pytest.raises(BundleError, match="more than 5000 fields"):
        onnx_check.inspect_onnx(path)


def test_fault_136_too_many_threads_are_refused() -> None:
    """The system would be asked for all of them."""
    p2p_run("--demo", "--threads", 20000, exit_code=2)


def test_fault_146_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    """A sparse file costs nothing, and reading it would cost all memory."""
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="over"):
        onnx_check.inspect_onnx(path)


def _png(side: int) -> bytes:
    """Return a PNG of black pixels, in a thousandth of their size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (side + 1)), 1)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)
            + chunk(b"IEND", b""))  # fmt: skip


def test_fault_146_opencv_has_the_limit_of_the_package() -> None:
    """It reads its limit when it is imported, before ours can be."""
    code = "import os, p2p_runtime; print(os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'])"
    environment = {k: v for k, v in os.environ.items() if k != "OPENCV_IO_MAX_IMAGE_PIXELS"}
    command = [sys.executable, "-c", code]
    assert int(subprocess.check_output(command, env=environment)) == LARGEST_PIXELS


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp"])
def test_fault_146_a_small_file_of_a_huge_picture_is_refused(tmp_path: Path, kind: str) -> None:
    """By its header, before its pixels take memory; a picture within the limit is read."""
    small = np.zeros((8, 8, 3), np.uint8)
    content = bytearray(cv2.imencode(f".{kind}", small)[1].tobytes())
    if kind == "png":
        content = bytearray(_png(9_000))
    elif kind == "jpg":
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", 32_000, 32_000)
    else:
        content[18:26] = struct.pack("<ii", 32_000, 32_000)
    path = tmp_path / f"huge.{kind}"
    path.write_bytes(content)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from p2p_runtime.errors import SinkError, SourceError\n"
        "from p2p_runtime.video.sources.images import _decode\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    _decode(Path(sys.argv[1]), None)\n"
        "except SourceError as error:\n"
        "    print(error)\n"
        "else:\n"
        "    raise SystemExit('it was read')\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENCV_IO_MAX_IMAGE_PIXELS"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert path.name in done.stdout


@pytest.mark.parametrize("operator", ["Tile", "ConstantOfShape", "Expand", "Range", "OneHot"])
@pytest.mark.parametrize("inside", [False, True])
def test_fault_137_operators_that_blow_up_are_refused(
    model: onnx.ModelProto, make_bundle: MakeBundle, operator: str, inside: bool
) -> None:
    """Refused before a library folds them into gigabytes, in the graph and in bodies of loops."""
    node = helper.make_node(operator, ["white"], ["huge"])
    if inside:
        body = helper.make_graph([node], "body", [], [])
        node = helper.make_node("If", ["white"], ["huge"], then_branch=body, else_branch=body)
    model.graph.node.insert(0, node)
    with pytest.raises(BundleError, match=operator):
        ModelBundle.load(make_bundle(model=model))


@pytest.fixture
def server(
    tls_identity: tuple[ssl.SSLContext, Path],
) -> Iterator[tuple[int, Path, list[bytes]]]:
    """A TLS server with a certificate of its own: its port, its certificate, what it was sent."""
    context, certificate = tls_identity
    heard: list[bytes] = []
    listener = socket.create_server(("localhost", 0))

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            try:
                with context.wrap_socket(client, server_side=True) as secure:
                    heard.append(secure.recv(4096))
            except OSError:
                client.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], certificate, heard
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize("scheme", ["https", "rtsps", "rtmps"])
def test_fault_147_a_server_must_prove_who_it_is(
    server: tuple[int, Path, list[bytes]], monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Nothing is sent to one that cannot; a known authority, or --insecure, lets it pass."""
    port, certificate, heard = server
    monkeypatch.setenv(tls.INSECURE, "0")
    url = f"{scheme}://user:secret@localhost:{port}/live/a"

    def connect() -> str:
        heard.clear()
        with pytest.raises((SourceError, SourceLostError)) as caught:
            NetworkCapture(url, 5.0, None)
        return str(caught.value)

    refused = "its certificate is refused, self-signed certificate; --insecure trusts any server"
    assert connect().endswith(f": {refused}")
    assert not b"".join(heard)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "certificate" not in connect()
    assert b"".join(heard)
    monkeypatch.delenv("SSL_CERT_FILE")
    tls.allow_insecure()
    assert "certificate" not in connect()
    assert b"".join(heard)


UNTOLD = """
import sys; sys.path[:] = {path!r}
import {module} as push; push._check_answer = lambda *words: None; push.serve()
"""
"""A process that pushes without a look at the certificate that is there for the message alone."""


@pytest.mark.parametrize("scheme", ["rtsps", "rtmps"])
@pytest.mark.parametrize("told", [True, False])
def test_fault_147_a_server_that_is_pushed_to_must_prove_who_it_is(
    server: tuple[int, Path, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    told: bool,
) -> None:
    """Refused in one line before anything is sent; a known authority, or --insecure, helps."""
    port, certificate, heard = server
    monkeypatch.setenv(tls.INSECURE, "0")
    if not told:
        monkeypatch.setattr(push, "_CODE", UNTOLD)

    video = VideoInfo(width=64, height=48, fps=10)

    def reason() -> str:
        heard.clear()
        with pytest.raises(SinkError, match=rf"{scheme}://\*\*\*@localhost:{port}/") as caught:
            open_sink(f"{scheme}://user:secret@localhost:{port}/a|b/c", video)
        return str(caught.value).rsplit(": ", 1)[-1]

    refused = "its certificate is refused, self-signed certificate; --insecure trusts any server"
    assert reason() == (refused if told else "Input/output error")
    assert not b"".join(heard)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "certificate" not in reason()
    assert b"".join(heard)
    monkeypatch.delenv("SSL_CERT_FILE")
    tls.allow_insecure()
    assert "certificate" not in reason()
    assert b"".join(heard)


def test_fault_147_insecure_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag alone lets a run trust any server."""
    monkeypatch.setenv(tls.INSECURE, "0")
    assert tls.verified_tls()["tls_verify"] == "1"
    p2p_run("--insecure", "missing.mp4", exit_code=2)
    assert tls.verified_tls() == {"tls_verify": "0"}


PLAYLISTS = {
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
    b"m=video 5004 RTP/AVP 33\n",
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.ts\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile other.ts\n",
    "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["a.mp4", "a.sdp", "a"])
def test_fault_148_what_is_sent_chooses_no_other_place(kind: str, name: str) -> None:
    """A web server cannot make the device take the streams of others, under any name."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(PLAYLISTS[kind])))
            self.end_headers()
            self.wfile.write(PLAYLISTS[kind])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_address[1]}/{name}"
        with pytest.raises((SourceError, SourceLostError), match=r"Invalid (data|argument)"):
            NetworkCapture(url, 5.0, None)
        web.shutdown()
    assert {*asked} == {f"/{name}"}


def test_fault_148_a_video_is_still_read(tmp_path: Path) -> None:
    """The list admits what holds its own frames."""
    video = write_video(tmp_path / "a.ts", [label_frame(i) for i in range(5)], fps=25).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(video)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        capture = NetworkCapture(f"http://127.0.0.1:{web.server_address[1]}/a.mp4", 5.0, None)
        assert capture.read().image.shape == (48, 64, 3)
        capture.close()
        web.shutdown()


@pytest.mark.parametrize("kind", ["concat", "hls"])
def test_fault_148_a_local_file_opens_no_other_one(tmp_path: Path, kind: str) -> None:
    """A list of files is no video, though the files that it names are."""
    write_video(tmp_path / "other.ts", [label_frame(index) for index in range(5)], fps=25)
    path = tmp_path / "a.mp4"
    path.write_bytes(PLAYLISTS[kind])
    with pytest.raises(SourceError, match="not a video"):
        open_source(str(path))
