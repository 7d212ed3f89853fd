"""A model server as a device: equal pixels, and every fault is a clear error or is got over."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from commands import p2p_run
from fake_oip import FakeOIP, Fault, Handler, cut
from p2p_runtime.engines import ServerOptions
from p2p_runtime.engines import oip as oip_engine
from p2p_runtime.engines import supervised as supervision
from p2p_runtime.engines.oip import OipEngine
from p2p_runtime.engines.oip_http import ServerAddress
from p2p_runtime.engines.supervised import open_supervised
from p2p_runtime.errors import (
    BundleError,
    ConfigError,
    EngineError,
    P2PError,
    ServerError,
)
from p2p_runtime.model.bundle import ModelBundle
from toy_runtime import label_frame, write_video

pytestmark = pytest.mark.usefixtures("no_thread_is_left")

Image = NDArray[np.uint8]
SOON = ServerOptions(deadline_s=20, reconnect_for_s=20)
NEVER = ServerOptions(deadline_s=0.3, reconnect_for_s=0)
FRAMES = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)


@pytest.fixture
def server(bundle: Path) -> Iterator[FakeOIP]:
    """Serve the bundle."""
    with FakeOIP(bundle) as fake:
        yield fake


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(supervision, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(oip_engine, "FIRST_DELAY_S", 0.01)


def ask(server: FakeOIP, bundle: Path, options: ServerOptions = SOON, count: int = 1) -> int:
    """Translate so many frames with a supervised engine; return how often it was opened again."""
    engine = open_supervised(ModelBundle.load(bundle), server.url, server=options)
    try:
        for _ in range(count):
            assert np.array_equal(engine.infer(FRAMES), 255 - FRAMES)
        return engine.restarts
    finally:
        engine.close()


def test_a_run_on_a_server_gives_the_bytes_of_a_run_here(
    server: FakeOIP, bundle: Path, tmp_path: Path
) -> None:
    """Frames are in order, although several requests are on their way."""

    def slow(handler: Handler) -> bool:
        time.sleep(0.03)
        return True

    clip = write_video(tmp_path / "clip.mp4", [label_frame(index) for index in range(20)])
    server.faults = [slow] * 21
    words = ("--model", bundle, "--report", tmp_path / "run.json", "--overwrite", "--output")
    for device in ("cpu", server.url):
        p2p_run(clip, "--device", device, *words, tmp_path / f"{device[:3]}.mp4")
    assert (tmp_path / "cpu.mp4").read_bytes() == (tmp_path / "oip.mp4").read_bytes()
    assert server.frames == 21  # and the golden frame
    assert server.most > 1
    assert json.loads((tmp_path / "run.json").read_text())["run"]["device"] == server.url


@pytest.mark.parametrize(
    "url",
    [
        "http://host:8000/street", "oip://host:8000", "oip:///street", "oip://host/a/1/2",
        "oip://host/street?a=b", "oip://host/a%0d%0ab", "oip://host:99999/street",
        "oip://[::1/street", "oip://host:0/street", "oip://me:secret@host/street",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(bundle: Path, url: str) -> None:
    """Nothing is sent, and no secret is repeated."""
    done = p2p_run("--demo", "--device", url, "--model", bundle, exit_code=2)
    assert done.stderr.count("\n") == 1
    assert "is no model on a server; write oip://" in done.stderr
    assert "secret" not in done.stderr


def test_addresses_have_a_port_and_may_have_a_version() -> None:
    """8000 is Triton's port for HTTP."""
    found = ServerAddress.parse("oip://[::1]/street/3")
    assert (found.host, found.port, found.path) == ("::1", 8000, "/v2/models/street/versions/3")
    assert ServerAddress.parse("oips://host/street").port == 443


def test_a_folder_of_several_models_does_not_tell_which_is_served(
    server: FakeOIP, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """The message lists them; a folder of one is fine."""
    make_bundle("models/model-fp32.onnx")
    words = ("--demo", "--device", server.url, "--model", tmp_path / "models")
    p2p_run(*words, "--output", tmp_path / "a.mp4", "--max-frames", 1)
    make_bundle("models/model-fp16.onnx")
    done = p2p_run(*words, exit_code=2)
    assert done.stderr.count("\n") == 1
    assert "serves with --model: " in done.stderr


def test_a_server_without_a_fingerprint_translates_the_golden_frame(
    bundle: Path, wrong_golden: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and each connection is checked so."""
    with FakeOIP(None) as server, caplog.at_level(logging.WARNING):
        assert ask(server, bundle) == 0
        assert "states no p2p_sha256; the golden frame must do" in caplog.text
        assert server.frames == 3
        with pytest.raises(BundleError, match="does not compute on oip://"):
            ask(server, wrong_golden)


def test_a_server_with_another_model_is_refused(
    server: FakeOIP, make_bundle: Callable[..., Path]
) -> None:
    """The message has both fingerprints, and no frame is sent."""
    other = make_bundle("other.onnx", edit=lambda info: replace(info, generator={"ngf": 8}))
    with pytest.raises(BundleError, match=r"its SHA-256 is \w{12}, that of the file \w{12}; name"):
        ask(server, other)
    assert server.frames == 0


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [-1, 64, 32, 3]},
        {"datatype": "FP32"},
        {"name": "x"},
        {"shape": 3},
        {"shape": None},
    ],
)
@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_a_server_with_other_inputs_or_outputs_is_refused(
    server: FakeOIP, bundle: Path, what: str, change: dict[str, Any]
) -> None:
    """The message says what they should be."""
    server.stated[what][0].update(change)
    with pytest.raises(BundleError, match=rf"{what} should be \w+ UINT8 \[-1, 64, 64, 3\], not "):
        ask(server, bundle)


def test_an_unknown_model_or_version_quotes_the_server(server: FakeOIP, bundle: Path) -> None:
    """In one line without the server's control characters; the exit code is 4."""
    for name in ("avenue", "street/2"):
        url = server.url.replace("street", name)
        done = p2p_run("--demo", "--device", url, "--model", bundle, exit_code=4)
        assert done.stderr.count("\n") == 1
        assert "HTTP 404 unknown model [31m" in done.stderr
    server.url += "/1"
    assert ask(server, bundle) == 0


def test_nobody_listens(bundle: Path) -> None:
    """At the start nothing is waited for; the exit code is 4."""
    with FakeOIP(bundle) as gone:
        pass
    done = p2p_run("--demo", "--device", gone.url, "--model", bundle, exit_code=4)
    assert done.stderr.count("\n") == 1
    assert "Connection refused" in done.stderr


def test_a_busy_server_is_asked_again(server: FakeOIP, bundle: Path) -> None:
    """After 503 and 429 the same connection goes on; the deadline ends it."""

    def busy(handler: Handler) -> bool:
        handler.answer(503, b'{"error": "queue full"}')
        return False

    server.faults = [busy] * 3
    assert ask(server, bundle) == 0
    assert len(server.headers) == 2 + 3 + 2
    server.faults = [busy] * 1000
    with pytest.raises(ServerError, match="HTTP 503 queue full"):
        ask(server, bundle, NEVER)


def test_a_server_that_was_busy_is_checked_nevertheless(
    server: FakeOIP, make_bundle: Callable[..., Path]
) -> None:
    """Also where it had no time to state its model at first."""
    other = make_bundle("other.onnx", edit=lambda info: replace(info, generator={"ngf": 8}))
    server.busy = 1
    with pytest.raises(BundleError, match="its SHA-256 is"):
        ask(server, other)


def raw(content: bytes) -> Fault:
    """Answer with these bytes, and close the connection."""

    def fault(handler: Handler) -> bool:
        handler.wfile.write(content)
        cut(handler.connection)
        return False

    return fault


def other(**said: Any) -> Fault:
    """Answer with an image of which something else is said."""

    def fault(handler: Handler) -> bool:
        header = {"Inference-Header-Content-Length": "140"}
        content = json.dumps(said).encode().ljust(140) + bytes(64 * 64 * 3)
        handler.answer(200, content, header)
        return False

    return fault


def output(**change: Any) -> list[dict[str, Any]]:
    """Return what is said of a right image, but for a change."""
    sizes = {"binary_data_size": 64 * 64 * 3}
    right = {"name": "image", "datatype": "UINT8", "shape": [1, 64, 64, 3], "parameters": sizes}
    return [right | change]


OK = b"HTTP/1.1 200 OK\r\n"
FAULTS = {
    "cut": raw(b""),
    "cut in a header": raw(OK + b"Content-Le"),
    "no HTTP": raw(bytes(range(256)) * 300),
    "endless header": raw(OK + b"X: " + b"x" * 200_000),
    "many headers": raw(OK + b"X: x\r\n" * 2000),
    "cut in the image": raw(
        OK + b"Content-Length: 20000\r\nInference-Header-Content-Length: 2\r\n\r\n{}xx"
    ),
    "bad chunks": raw(
        OK + b"Transfer-Encoding: chunked\r\nInference-Header-Content-Length: 9\r\n\r\nzz\r\n"
    ),
    "no binary": raw(OK + b"Content-Length: 2\r\n\r\n{}"),
    "huge": raw(OK + b"Inference-Header-Content-Length: 99999999999\r\n\r\n{}"),
    "negative": raw(OK + b"Inference-Header-Content-Length: -5\r\nContent-Length: -5\r\n\r\n{}"),
    "odd digits": raw(OK + "Inference-Header-Content-Length: ²\r\n\r\n{}".encode("latin-1")),
    "a redirect": raw(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
    "an error": raw(b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\nno\n!"),
    "a request of others": other(id="x", outputs=output()),
    "no outputs": other(),
    "two outputs": other(outputs=output() * 2),
    "odd outputs": other(outputs=[3]),
    "another type": other(outputs=output(datatype="FP32")),
    "another shape": other(outputs=output(shape=[1, 64, 64, 4])),
    "another size": other(outputs=output(parameters={"binary_data_size": 5})),
    "no size": other(outputs=output(parameters=None)),
}


def longer(handler: Handler) -> bool:
    """Send a byte too many."""
    content = json.dumps({"outputs": output()}).encode()
    lengths = {"Inference-Header-Content-Length": str(len(content))}
    handler.answer(200, content + bytes(64 * 64 * 3 + 1), lengths)
    return False


@pytest.mark.parametrize("name", [*FAULTS, "longer"])
def test_what_is_no_answer_is_asked_for_again(server: FakeOIP, bundle: Path, name: str) -> None:
    """The engine is opened again, the golden frame replayed, and no frame is wrong or lost."""
    engine = open_supervised(ModelBundle.load(bundle), server.url, server=SOON)
    server.faults = [FAULTS.get(name, longer)]
    assert np.array_equal(engine.infer(FRAMES), 255 - FRAMES)
    assert engine.restarts == (0 if name == "cut" else 1)
    engine.close()


@pytest.mark.parametrize("name", [*FAULTS, "longer"])
def test_a_server_that_gives_no_answer_is_one_error(
    server: FakeOIP, bundle: Path, name: str
) -> None:
    """At the start, with the reason."""
    server.faults = [FAULTS.get(name, longer)] * 9
    with pytest.raises(EngineError) as caught:
        ask(server, bundle, NEVER)
    assert str(caught.value).startswith(server.url)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "stated",
    [[], {"x": "x" * (1 << 20)}, json.loads("[" * 70 + "]" * 70), 1, {"x": 10**30}],
    ids=["list", "large", "deep", "number", "digits"],
)
def test_what_a_server_states_is_bounded(server: FakeOIP, bundle: Path, stated: Any) -> None:
    """Size, depth and kind."""
    server.stated = stated | server.stated if isinstance(stated, dict) else stated
    with pytest.raises(EngineError, match="gives no good answer: it "):
        ask(server, bundle)


def test_a_slow_server_has_a_deadline(server: FakeOIP, bundle: Path) -> None:
    """Silence, and bytes that trickle, end in the same error."""
    released = threading.Event()

    def silent(handler: Handler) -> bool:
        released.wait(30)
        return False

    def trickling(handler: Handler) -> bool:
        handler.wfile.write(OK)
        while len(sent) < 150 and not released.wait(0.02):
            handler.wfile.write(b"X")
            sent.append(1)
        return False

    sent: list[int] = []
    for fault in (trickling, silent):
        server.faults = [fault]
        with pytest.raises(ServerError, match=r"no answer within 0\.3 s, --stall-time"):
            ask(server, bundle, NEVER)
        assert len(sent) < 150
    released.set()


@pytest.mark.parametrize("again", ["the same", "another", "none"])
def test_a_server_that_was_killed(
    bundle: Path, make_bundle: Callable[..., Path], again: str
) -> None:
    """It is waited for, checked as at the start, and given up after a while."""
    first = FakeOIP(bundle)
    options = SOON if again != "none" else replace(SOON, reconnect_for_s=0.2)
    engine = open_supervised(ModelBundle.load(bundle), first.url, server=options)
    first.close()
    other = make_bundle("other.onnx", edit=lambda info: replace(info, generator={"ngf": 8}))
    answers: list[Image | P2PError] = []

    def translate() -> None:
        try:
            answers.append(engine.infer(FRAMES))
        except P2PError as error:
            answers.append(error)

    threads = [threading.Thread(target=translate) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    second = (
        None if again == "none" else FakeOIP(bundle if again == "the same" else other, first.port)
    )
    for thread in threads:
        thread.join()
    engine.close()
    if second is not None:
        second.close()
    if again == "the same":
        assert all(np.array_equal(image, 255 - FRAMES) for image in answers)
        assert engine.restarts == 1
        assert second is not None
        assert second.frames == 4
    else:
        reason = "Connection refused" if again == "none" else "its SHA-256 is"
        assert [reason in str(error) for error in answers] == [True] * 3
        assert {error.exit_code for error in answers if isinstance(error, P2PError)} <= {2, 4}


def test_connections_that_servers_close_are_no_fault(server: FakeOIP, bundle: Path) -> None:
    """Neither after each answer, nor after a while without one."""
    server.keep_alive = False
    assert ask(server, bundle, count=3) == 0
    server.keep_alive = True
    engine = open_supervised(ModelBundle.load(bundle), server.url, server=SOON)
    for connection in list(server.opened):
        cut(connection)
    assert np.array_equal(engine.infer(FRAMES), 255 - FRAMES)
    assert engine.restarts == 0
    engine.close()


def test_the_token_is_sent_and_never_told(
    server: FakeOIP, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has it; logs, report and error have not."""
    monkeypatch.setenv("P2P_DEVICE_TOKEN", "open-sesame")
    words = ("--device", server.url, "--model", bundle, "--report", tmp_path / "run.json", "-v",
             "--max-frames", 2, "--output", tmp_path / "a.mp4")  # fmt: skip
    done = p2p_run("--demo", *words)
    assert {one.get("Authorization") for one in server.headers} == {"Bearer open-sesame"}

    def refuse(handler: Handler) -> bool:
        handler.answer(401, b"no")
        return False

    server.faults = [refuse]
    refused = p2p_run("--demo", *words, "--overwrite", exit_code=2)
    assert refused.stderr.count("error: ") == 1
    assert "HTTP 401 no; give a token that it takes, P2P_DEVICE_TOKEN" in refused.stderr
    told = done.output + refused.output + (tmp_path / "run.json").read_text()
    assert "sesame" not in told
    assert "sesame" not in repr(ServerOptions(token="open-sesame"))


def test_a_token_is_not_sent_for_all_to_read(bundle: Path) -> None:
    """Plain connections to other machines take none, and odd characters are refused."""
    with pytest.raises(ConfigError, match="could read the token"):
        OipEngine(ModelBundle.load(bundle), "oip://example.org/street", ServerOptions(token="a"))
    with pytest.raises(ConfigError, match="blanks") as caught:
        ServerOptions(token="a\r\nb")
    assert "a\r\nb" not in str(caught.value)


def test_certificates_are_checked(
    server: FakeOIP,
    bundle: Path,
    tls_identity: tuple[ssl.SSLContext, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is not trusted is refused before anything is sent; --insecure trusts it."""
    context, certificate = tls_identity
    server.wrap(context)
    with pytest.raises(ConfigError, match="its certificate is refused, self-signed"):
        ask(server, bundle)
    assert server.headers == []
    with monkeypatch.context() as patch:
        patch.setenv("P2P_INSECURE", "1")
        assert ask(server, bundle) == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask(server, bundle) == 0


def test_a_run_that_is_stopped_does_not_wait_for_the_server(bundle: Path) -> None:
    """Neither for its answer nor for its return."""
    released, asked = threading.Event(), threading.Event()

    def silent(handler: Handler) -> bool:
        asked.set()
        released.wait(60)
        return False

    with FakeOIP(bundle) as server:
        for gone in (False, True):
            engine = open_supervised(ModelBundle.load(bundle), server.url, server=SOON)
            server.faults = [silent]
            failed: list[Exception] = []

            def translate() -> None:
                with pytest.raises(EngineError) as caught:
                    engine.infer(FRAMES)  # noqa: B023  # the thread ends within the turn
                failed.append(caught.value)  # noqa: B023  # as above

            if gone:
                server.close()
            thread = threading.Thread(target=translate)
            thread.start()
            assert gone or asked.wait(30)
            engine.stop(0.05)
            with pytest.raises(EngineError):
                engine.infer(FRAMES)
            thread.join(10)
            assert len(failed) == 1
            released.set()
            engine.close()
