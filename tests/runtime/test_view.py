"""The live page's server: what it answers, to whom, and what a client can cost the run."""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from commands import p2p_run
from fake_camera import FakeCamera
from p2p_runtime.errors import ConfigError, SinkError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.live import LivePolicy, LiveSource
from p2p_runtime.video.sources import captures, open_source
from p2p_runtime.video.view import LiveView, access, screen, server
from terminal import surroundings, words_of
from toy_runtime import label_frame

Image = NDArray[np.uint8]
TOKEN = "letters-and-0123"

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.fixture
def view() -> Iterator[LiveView]:
    """A page on a free port of the loopback."""
    with LiveView("0", name="seg.mp4") as view:
        yield view


def shown(index: int, *, height: int = 48, width: int = 64) -> FrameTask:
    """Return a frame as a run has written it."""
    task = FrameTask(picture=label_frame(index, height, width), index=index, timestamp_s=index / 10)
    task.output = np.full((height, width, 3), (10 * index) % 250, np.uint8)
    task.class_ids = CITYSCAPES.to_ids(label_frame(index, height, width))
    task.times_ms.update(infer=20.0 + index, latency=30.0 + index)
    return task


def port_of(view: LiveView) -> int:
    """Return the port of a page."""
    return int(view.url.rsplit(":", 1)[1].strip("/"))


def ask(
    view: LiveView, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return a page's answer, and its body; underscores in headers stand for hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(view), timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def status(view: LiveView, path: str, method: str = "GET", **headers: str) -> int:
    """Return the status of a page's answer."""
    return ask(view, path, method, **headers)[0].status


def decoded(content: bytes) -> Image:
    """Return a JPEG's pixels, (H, W, 3) BGR."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels.astype(np.uint8)


def connected(view: LiveView) -> socket.socket:
    """Return a connection without Nagle's delay."""
    return socket.create_connection(("127.0.0.1", port_of(view)), timeout=60)


def read_all(client: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    with client.makefile("rb") as stream:
        return stream.read()


def wait_for(what: Any) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# What it answers


def test_a_frame_is_a_jpeg_with_its_number_and_times(view: LiveView) -> None:
    """``/frame`` and ``/frame.jpg`` give the newest frame's output."""
    view(shown(6))
    view(shown(7))
    for path in ("/frame", "/frame?after=3", "/frame.jpg"):
        answer, body = ask(view, path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert (answer.headers["X-Frame"], answer.headers["X-Timestamp-S"]) == ("7", "0.700")
        assert answer.headers["X-Latency-Ms"] == "37.00"
        assert float(answer.headers["X-Age-Ms"]) > 0
        assert decoded(body).shape == (48, 64, 3)
        assert abs(int(decoded(body).mean()) - 70) <= 2


def test_before_the_first_frame_there_is_none(view: LiveView) -> None:
    """The answer is empty, at once or after the wait."""
    assert ask(view, "/frame.jpg")[0].status == 204
    assert ask(view, "/frame")[0].status == 204


def test_a_request_waits_for_another_frame(view: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    """``after`` is the frame that the viewer has; what it gets is always the newest one."""
    monkeypatch.setattr(server, "WAIT_S", 60)
    view(shown(1))
    assert ask(view, "/frame")[0].headers["X-Frame"] == "1"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(ask, view, "/frame?after=1")
        wait_for(lambda: view._screen._waiting == 1)
        assert not waiting.done()
        view(shown(2))
        assert waiting.result()[0].headers["X-Frame"] == "2"


def test_a_viewer_of_a_run_before_gets_the_first_frame(view: LiveView) -> None:
    """Numbers begin anew with each run, so a smaller number is news, too."""
    view(shown(0))
    assert ask(view, "/frame?after=5000")[0].headers["X-Frame"] == "0"


def test_a_jpeg_is_made_once_and_only_for_viewers(
    view: LiveView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that nobody asks for are not encoded; several viewers share what is."""
    made: list[tuple[int, ...]] = []
    encode = cv2.imencode

    def counted(suffix: str, pixels: Image, *settings: Any) -> Any:
        made.append(pixels.shape)
        time.sleep(0.05)  # the others ask meanwhile
        return encode(suffix, pixels, *settings)

    monkeypatch.setattr(screen.cv2, "imencode", counted)
    for index in range(20):
        view(shown(index))
    assert ask(view, "/stats")[0].status == 200
    assert made == []
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: ask(view, "/frame.jpg")[1], range(8)))
    assert made == [(48, 64, 3)]
    assert len(set(bodies)) == 1


def test_fast_files_show_thirty_frames_a_second_at_most(view: LiveView) -> None:
    """Whatever the number of viewers, they get the same few frames, and the last one."""
    seen: list[set[int]] = [set(), set()]

    def look(own: set[int]) -> None:
        number = -1
        while number != 199:
            if frame := view._screen.wait(number, 5):
                number = frame.number
                own.add(number)

    threads = [threading.Thread(target=look, args=(own,)) for own in seen]
    for thread in threads:
        thread.start()
    began_s = time.monotonic()
    for index in range(200):
        view(shown(index))
        time.sleep(0.002)
    for thread in threads:
        thread.join()
    most = 2 + 30 * (time.monotonic() - began_s)
    assert all(3 <= len(own) <= most for own in seen)
    assert len(seen[0] | seen[1]) <= most


def test_input_and_output_come_in_one_answer(view: LiveView, contract: Any) -> None:
    """``input=1`` puts what the generator got before the output, and says how long it is."""
    with Translator(contract, _Grey()) as translate:
        task = translate.translate(label_frame(3))
    view(task)
    answer, body = ask(view, "/frame?input=1")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers["X-Input-Bytes"])
    assert task.input is not None
    difference = decoded(body[:length]).astype(int) - task.input.pixels
    assert np.abs(difference).mean() < 8
    assert (decoded(body[length:]) == 99).all()


class _Grey:
    """An engine that paints everything grey."""

    device = "cpu"
    restarts = 0

    def infer(self, frames: Image) -> Image:
        return np.full_like(frames, 99)

    def interrupt(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to free."""


def test_of_side_by_side_frames_the_output_is_shown(view: LiveView) -> None:
    """The page has its own slider between input and output."""
    task = shown(5)
    task.output = np.concatenate([task.picture, task.image], axis=1)  # type: ignore[list-item]
    view(task)
    pixels = decoded(ask(view, "/frame.jpg")[1])
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - 50).max() <= 4


def test_a_picture_may_change_its_size(view: LiveView) -> None:
    """Each frame is as large as it is."""
    view(shown(1))
    assert decoded(ask(view, "/frame")[1]).shape == (48, 64, 3)
    view(shown(2, height=30, width=100))
    assert decoded(ask(view, "/frame?after=1")[1]).shape == (30, 100, 3)


def test_mjpeg_is_a_stream_of_parts(view: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs get frame after frame, and the last one again while there is no other."""
    monkeypatch.setattr(server, "WAIT_S", 0.05)
    view(shown(1))
    with connected(view) as client, client.makefile("rb") as stream:
        client.sendall(b"GET /mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
        while stream.readline() != b"\r\n":
            pass
        levels = [int(decoded(_part(stream)).mean()) for _ in range(2)]
        view(shown(2))
        while levels[-1] < 15:
            levels.append(int(decoded(_part(stream)).mean()))
    assert levels[:2] == [10, 10]
    assert levels[-1] == pytest.approx(20, abs=1)


def _part(stream: Any) -> bytes:
    assert stream.readline() == b"--frame\r\n"
    assert stream.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(re.fullmatch(rb"Content-Length: (\d+)\r\n", stream.readline())[1])  # type: ignore[index]
    assert stream.readline() == b"\r\n"
    body: bytes = stream.read(length)
    assert stream.readline() == b"\r\n"
    return body


def test_figures_are_json(view: LiveView) -> None:
    """Counts, percentiles by stage, and the classes in sight with colour and share."""
    figures = json.loads(ask(view, "/stats")[1])
    assert (figures["state"], figures["frames"], figures["stages"]) == ("starting", 0, {})
    for index in range(101):
        view(shown(index))
    view.begin(_Source(), CITYSCAPES)
    for index in range(101):
        view(shown(index))
    figures = json.loads(ask(view, "/stats")[1])
    assert (figures["source"], figures["state"], figures["frames"]) == ("seg.mp4", "file", 101)
    assert figures["stages"] == {"infer": [70, 115, 119], "latency": [80, 125, 129]}
    assert {one["name"] for one in figures["classes"]} == {"sky", "road", "car"}
    assert sum(one["share"] for one in figures["classes"]) == pytest.approx(1, abs=1e-3)
    assert figures["viewers"] >= 1


class _Source:
    """A file."""

    info = None
    frames_lost = 0


def test_metrics_are_prometheus(view: LiveView) -> None:
    """Prometheus' own parser reads the counters and the summary."""
    for index in range(10):
        view(shown(index))
    answer, body = ask(view, "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["p2p_frames"].samples[0].value == 10
    assert families["p2p_frames"].type == "counter"
    stages = {
        (sample.name, sample.labels["stage"], sample.labels.get("quantile")): sample.value
        for sample in families["p2p_stage_seconds"].samples
    }
    assert stages["p2p_stage_seconds_sum", "infer", None] == pytest.approx(0.245)
    assert stages["p2p_stage_seconds_count", "infer", None] == 10
    assert stages["p2p_stage_seconds", "infer", "0.5"] == pytest.approx(0.0245)


def test_a_source_that_is_lost_and_back_is_told(
    view: LiveView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is that of the connection, and reconnects are counted."""
    monkeypatch.setattr(captures.cv2, "VideoCapture", FakeCamera)
    policy = LivePolicy(reconnect_for_s=60, first_delay_s=0.5, longest_delay_s=0.5, drop="none")
    source = open_source("0", policy=policy)
    assert isinstance(source, LiveSource)
    view.begin(source, None)
    states, frames = [], iter(source)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(lambda: [next(frames) for _ in range(4)])
        while not reading.done():
            states.append(json.loads(ask(view, "/stats")[1])["state"])
    figures = json.loads(ask(view, "/stats")[1])
    source.close()
    assert "lost" in states
    assert (figures["state"], figures["reconnects"]) == ("live", 1)


# Who may look


def test_this_machine_alone_may_look_unless_a_host_is_named(view: LiveView) -> None:
    """Without a host the page is on the loopback, and needs no token."""
    assert view.url.startswith("http://127.0.0.1:")
    assert view.token is None
    assert view._server.server_address[0] == "127.0.0.1"
    assert status(view, "/") == 200


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:8080", ("::1", 8080)),
        ("box.local:1", ("box.local", 1)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, address: tuple[str, int]) -> None:
    """IPv6 stands in brackets."""
    assert access.parse_address(text) == address


@pytest.mark.parametrize("text", ["", "box", "70000", "::1:80", "a b:80", "http://box:80", "-1"])
def test_what_is_no_address_is_told(text: str) -> None:
    """The line shows how an address is written."""
    with pytest.raises(ConfigError, match=r"is no \[HOST:\]PORT; write it like 8080"):
        access.parse_address(text)


@pytest.mark.parametrize("token", ["short", "with blank 123", "schlüssel-1234"])
def test_a_token_that_cannot_work_is_refused(token: str) -> None:
    """Nothing is opened then."""
    with pytest.raises(ConfigError, match="--view-token"):
        LiveView("0", token)


def test_fault_152_other_hosts_need_a_token_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request without it is refused, also with a wrong one."""
    with LiveView("0.0.0.0:0") as view:
        assert view.token is not None and len(view.token) >= 20
        for path in ("/", "/frame", "/frame.jpg", "/mjpeg", "/stats", "/metrics", "/nothing"):
            answer, body = ask(view, path)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"open the address that p2p-run has printed" in body
        for wrong in (view.token[:-1], view.token.upper(), "", "x" * 500, "%ff%00"):
            assert status(view, f"/?token={wrong}") == 401
        assert status(view, f"/?token={view.token}") == 200


def test_the_token_is_shown_by_address_cookie_or_header() -> None:
    """A browser gets a cookie that no script reads and no other site sends."""
    with LiveView("0", TOKEN) as view:
        answer, body = ask(view, f"/?token={TOKEN}")
        cookie = answer.headers["Set-Cookie"]
        name = f"p2p-view-{port_of(view)}"
        assert cookie == f"{name}={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
        assert TOKEN.encode() not in body
        assert status(view, "/stats", Cookie=f"other=1; {name}={TOKEN}") == 200
        assert status(view, "/stats", Cookie=f"p2p-view-1={TOKEN}") == 401
        assert status(view, "/stats", Cookie=f"{name}={TOKEN}x") == 401
        assert status(view, "/metrics", Authorization=f"Bearer {TOKEN}") == 200
        assert status(view, "/metrics", Authorization="Bearer wrong") == 401
        assert "Set-Cookie" not in ask(view, "/", Cookie=f"{name}={TOKEN}")[0].headers


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's comparison decides, and nothing else does."""
    compared = []

    def never(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return False

    monkeypatch.setattr(access.secrets, "compare_digest", never)
    with LiveView("0", TOKEN) as view:
        assert status(view, f"/?token={TOKEN}") == 401
    assert (TOKEN.encode(), TOKEN.encode()) in compared


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""]
)
def test_fault_152_another_name_for_this_machine_is_refused(view: LiveView, host: str) -> None:
    """A page elsewhere whose name is made to point here (DNS rebinding) sees nothing."""
    for path in ("/", "/frame.jpg", "/stats"):
        answer, body = ask(view, path, Host=host)
        assert answer.status == 403
        assert b"not served under that name" in body


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:9000"])
def test_the_loopback_has_several_names(view: LiveView, host: str) -> None:
    """Through a tunnel, the port is another one."""
    assert status(view, "/stats", Host=host) == 200


def test_a_server_for_other_hosts_is_reached_by_number_and_name() -> None:
    """Nobody's page has a number for its name."""
    with LiveView("0.0.0.0:0", TOKEN) as view:
        path = f"/stats?token={TOKEN}"
        for host in ("192.168.1.7:8080", "[fe80::1]", socket.gethostname(), "0.0.0.0"):
            assert status(view, path, Host=host) == 200
        assert status(view, path, Host="evil.example") == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "empty"},
    ],
)
def test_fault_152_other_pages_get_nothing(view: LiveView, headers: dict[str, str]) -> None:
    """Neither by script nor as a picture; a link to the page works."""
    assert status(view, "/frame.jpg", **headers) == 403
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    assert status(view, "/", **link) == 200


def test_the_page_may_run_and_ask_nothing_else(view: LiveView) -> None:
    """Its policy allows its own script and style by their hashes, and its own origin."""
    headers = ask(view, "/")[0].headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; connect-src 'self'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]{44}'; style-src 'sha256-[\w+/=]{44}'", policy)
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    for name, value in {
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }.items():
        assert headers[name] == value
        assert ask(view, "/stats")[0].headers[name] == value


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "HEAD", "get"])
def test_the_page_is_read_only(view: LiveView, method: str) -> None:
    """Nothing but GET is answered."""
    assert status(view, "/", method) == 501


@pytest.mark.parametrize(
    "request_text",
    [
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody",
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /frame?after=x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /?a=1&a=1&a=1&a=1&a=1&a=1&a=1&a=1&a=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/9.9.9\r\n\r\n",
        "nonsense\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
    ],
)
def test_what_no_browser_sends_is_refused(
    view: LiveView, request_text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A short answer, the connection ends, and the terminal stays quiet."""
    with connected(view) as client:
        client.sendall(request_text.encode("latin-1"))
        answer = read_all(client)
    assert re.match(rb"HTTP/1.1 (400|505) |Bad|Error", answer) or b"Bad" in answer
    assert "Traceback" not in capfd.readouterr().err
    assert status(view, "/stats") == 200


# What a client can cost


def test_fault_153_a_request_of_a_megabyte_is_refused(view: LiveView) -> None:
    """After 16 KB nothing more is read."""
    with connected(view) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 17_000)
        assert client.recv(4096).startswith(b"HTTP/1.1 431 ")
    with connected(view) as client, pytest.raises(OSError, match=r"reset|pipe"):
        for _ in range(1000):
            client.sendall(b"X: " + b"x" * 1000 + b"\r\n")
            time.sleep(0.001)
    assert status(view, "/stats") == 200


def test_fault_153_slow_requests_are_ended_and_hold_nobody(
    view: LiveView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then (slowloris) keeps no connection: the whole request has a deadline."""
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    view(shown(1))
    clients = [connected(view) for _ in range(10)]
    dropped = 0
    for byte in b"GET / HTTP/1.1\r\nX: " + b"x" * 1000:
        try:
            for client in clients:
                client.sendall(bytes([byte]))
        except OSError:
            dropped += 1
            break
        assert status(view, "/frame.jpg") == 200
        time.sleep(0.02)
    assert dropped == 1
    for client in clients:
        client.close()
    wait_for(lambda: view._server.viewers == 0)


def test_fault_153_a_viewer_that_stalls_is_left(
    view: LiveView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes nothing is disconnected; the run goes on meanwhile."""
    monkeypatch.setattr(server, "SEND_S", 0.3)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with connected(view) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: view._server.viewers == 1)
        index = 0
        while view._server.viewers:
            task = shown(index)
            task.picture = task.output = noise
            view(task)
            index += 1
            time.sleep(0.01)
            assert index < 6000


def test_fault_153_a_viewer_that_vanishes_is_forgotten(
    view: LiveView, capfd: pytest.CaptureFixture[str]
) -> None:
    """A reset connection ends its thread without a word."""
    for path in ("/mjpeg", "/frame?after=1"):
        client = connected(view)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(lambda: view._server.viewers == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        client.close()
        for index in range(3):
            view(shown(index))
        wait_for(lambda: view._server.viewers == 0)
    assert capfd.readouterr().err == ""


def test_twenty_viewers_see_the_same_run(view: LiveView) -> None:
    """All are served, and each frame is answered to all that ask."""
    index, one_at_a_time = itertools.count(1), threading.Lock()

    def write() -> None:
        with one_at_a_time:  # a run writes its frames in order
            view(shown(next(index)))

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: _follow(view, 5, write), range(20)))
    assert all(len(numbers) == 5 for numbers in answers)
    assert all(numbers == sorted(set(numbers)) for numbers in answers)


def _follow(view: LiveView, count: int, write: Callable[[], None]) -> list[int]:
    """Return the numbers of some frames that a viewer gets, by one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(view), timeout=60)
    numbers = [-1]
    while len(numbers) <= count:
        write()
        connection.request("GET", f"/frame?after={numbers[-1]}")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read()
        numbers.append(int(answer.headers["X-Frame"]))
    connection.close()
    return numbers[1:]


def test_viewers_have_a_lower_priority_than_the_run(
    view: LiveView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cores are busy, the page gets fewer frames, and the run goes on."""
    niceness: list[int] = []
    encode = cv2.imencode

    def noted(*anything: Any) -> Any:
        niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return encode(*anything)

    monkeypatch.setattr(screen.cv2, "imencode", noted)
    view(shown(1))
    assert ask(view, "/frame")[0].status == 200
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert niceness == [min(19, own + 10)]


def test_fault_153_one_viewer_too_many_is_told(view: LiveView) -> None:
    """The others go on; once one leaves, there is room again."""
    clients = [connected(view) for _ in range(server.MAX_CONNECTIONS)]
    wait_for(lambda: view._server.viewers == server.MAX_CONNECTIONS)
    answer, _ = ask(view, "/stats")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    for client in clients:
        client.close()
    wait_for(lambda: view._server.viewers == 0)
    assert status(view, "/stats") == 200


def test_closing_ends_waits_and_connections() -> None:
    """Viewers that wait for a frame, or between two requests, end with the run."""
    with LiveView("0") as view:
        clients = [connected(view) for _ in range(5)]
        for client in clients[:3]:
            client.sendall(b"GET /frame HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients[3].sendall(b"GET /mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: view._screen._waiting == 4)
    ends = [read_all(client) for client in clients]
    for client in clients:
        client.close()
    assert ends[0].endswith(b"the run has ended\n")
    with pytest.raises(OSError, match="refused"):
        connected(view)


def test_a_port_that_is_taken_is_told(view: LiveView, bundle: Path, video: Path) -> None:
    """One line, exit code 3, before anything is written."""
    with pytest.raises(SinkError, match="Address already in use"):
        LiveView(str(port_of(view)))
    output = video.with_name("out.mp4")
    result = p2p_run(
        video, "--model", bundle, "--output", output, "--view", port_of(view), exit_code=3
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: cannot show frames at 127.0.0.1:{port_of(view)}: ")
    assert "port 0" in last
    assert not output.exists()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_one_is_told(host: str) -> None:
    """An address of another machine, or a name without one."""
    with pytest.raises(SinkError, match=f"cannot show frames at {host}:0: "):
        LiveView(f"{host}:0")


# The command


def test_a_file_is_written_as_without_the_page(
    bundle: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what goes on for days is not written where somebody watches."""
    monkeypatch.chdir(tmp_path)
    written = []
    for words in ([], ["--view", "0"]):
        result = p2p_run(video, "--model", bundle, "--overwrite", *words)
        assert ("watch at http://127.0.0.1:" in result.stderr) == bool(words)
        written.append((tmp_path / "seg-translated.mp4").read_bytes())
    assert written[0] == written[1]


def test_a_pipe_that_is_watched_is_not_written(
    bundle: Path, tmp_path: Path, frames: list[Image]
) -> None:
    """No file appears unless --output names one."""
    words = words_of("p2p-run", "-", "--size", "64x48", "--model", bundle, "--view", 0)
    raw = b"".join(frame.tobytes() for frame in frames)
    done = subprocess.run(
        words, input=raw, cwd=tmp_path, env=surroundings(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"written to null:" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [bundle.name]


def test_the_token_is_printed_once_and_nowhere_else(
    bundle: Path, video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs nor status lines nor the report have it."""
    words = [video, "--model", bundle, "--output", "null:", "--view", "0.0.0.0:0", "--verbose"]
    words += ["--status", "json", "--report", tmp_path / "run.json"]
    with caplog.at_level(logging.DEBUG):
        result = p2p_run(*words)
    (token,) = re.findall(r"watch at http://[^/]+/\?token=([\w-]{22})\n", result.stderr)
    assert result.output.count(token) == 1
    assert token not in caplog.text
    assert token not in (tmp_path / "run.json").read_text()


def test_a_token_may_come_from_the_environment(
    bundle: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, other users of the machine cannot read it."""
    monkeypatch.setenv("P2P_VIEW_TOKEN", TOKEN)
    result = p2p_run(video, "--model", bundle, "--output", "null:", "--view", "0")
    assert f"/?token={TOKEN}\n" in result.stderr


def test_without_the_page_nothing_listens(bundle: Path, video: Path, tmp_path: Path) -> None:
    """No socket is bound, and the server is not even imported."""
    code = (
        "import sys\n"
        "sys.addaudithook(lambda name, _: name == 'socket.bind' and print('bound', name))\n"
        "from p2p_runtime.cli import main\n"
        f"main([{str(video)!r}, '--model', {str(bundle)!r}, '--output', 'null:', *sys.argv[1:]],"
        " standalone_mode=False)\n"
        "print('p2p_runtime.video.view' in sys.modules)\n"
    )
    for words, seen in (([], "False"), (["--view", "0"], "bound socket.bind")):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=surroundings(),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ("bound" in done.stdout) == bool(words)
        assert seen in done.stdout


@pytest.fixture
def run(bundle: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run on a pipe that gives twenty frames and then nothing; it and its page's port."""
    words = words_of("p2p-run", "-", "--size", "64x48", "--model", bundle, "--view", 0)
    with subprocess.Popen(
        words, cwd=tmp_path, env=surroundings(), stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        for line in process.stderr:
            if found := re.search(rb"watch at http://127.0.0.1:(\d+)/", line):
                break
        assert found is not None
        for index in range(20):
            process.stdin.write(label_frame(index).tobytes())
        process.stdin.flush()
        yield process, int(found[1])
        process.kill()


def ended_by_ctrl_c(process: subprocess.Popen[bytes], port: int) -> float:
    """End a run with viewers of all kinds, and return after how many seconds it has ended."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(12)]
    for path, client in zip(("/frame?after=19", "/mjpeg", "/stats"), clients, strict=False):
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert clients[1].recv(4096).startswith(b"HTTP/1.1 200")
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    for client in clients:
        client.close()
    return time.monotonic() - began_s


def test_ctrl_c_ends_a_run_that_is_watched(run: tuple[subprocess.Popen[bytes], int]) -> None:
    """Waiting, streaming and idle viewers do not hold it."""
    ended_by_ctrl_c(*run)


@pytest.mark.timing
def test_ctrl_c_ends_a_run_that_is_watched_soon(
    run: tuple[subprocess.Popen[bytes], int],
) -> None:
    """It takes less than two seconds."""
    assert ended_by_ctrl_c(*run) < 2
