"""The live page as a browser shows it, while ``p2p-run`` works."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from browser import LIMIT_S, Browser, headless, killed_if_late
from fake_rtsp import FakeRTSP
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.view import LiveView
from terminal import surroundings, words_of
from toy_runtime import label_frame, write_video

Image = NDArray[np.uint8]
TOKEN = "letters-and-0123"
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The first tab of a browser for all tests here."""
    with headless(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser) -> Iterator[Browser]:
    """A tab in front."""
    tab = browser.another()
    yield tab
    tab("Page.close")


@contextmanager
def watched(bundle: Path, *words: object) -> Iterator[tuple[str, list[str]]]:
    """Run ``p2p-run`` on 25 frames a second from a pipe; yield the page's address, and stderr."""
    command = words_of("p2p-run", "-", "--size", f"{WIDTH}x{HEIGHT}", "--model", bundle)
    with subprocess.Popen(
        [*command, "--view", "0", *map(str, words)], cwd=bundle.parent, env=surroundings(),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stderr is not None
        lines, ended = [], threading.Event()
        with killed_if_late(process):
            for line in process.stderr:
                lines.append(line)
                if "watch at" in line:
                    break
        pipe = process.stdin.buffer

        def feed() -> None:
            index = 0
            while not ended.wait(0.04):
                pipe.write(label_frame(index, HEIGHT, WIDTH).tobytes())
                pipe.flush()
                index += 1

        feeding = threading.Thread(target=feed)
        feeding.start()
        try:
            yield re.sub(r"^watch at (\S+)\n$", r"\1", lines[-1]), lines
        finally:
            ended.set()
            with killed_if_late(process):
                feeding.join()
                process.communicate()
    assert process.returncode == 0


def text(tab: Browser, name: str) -> str:
    """Return what an element of the page says."""
    said: str = tab.value(f"document.getElementById('{name}').textContent")
    return said


def wait_for_frame(tab: Browser, number: int) -> None:
    """Wait until the page shows this frame, or a later one."""
    tab.wait(f"Number(document.getElementById('frame').textContent) >= {number}")


def picture(tab: Browser) -> Image:
    """Return what the canvas shows: (H, W, 3) uint8 BGR."""
    levels = tab.value("[...paint.getImageData(0, 0, canvas.width, canvas.height).data]")
    width = tab.value("canvas.width")
    return np.array(levels, np.uint8).reshape(-1, width, 4)[..., 2::-1]


def press(tab: Browser, key: str) -> None:
    """Press and release a key."""
    for kind in ("keyDown", "keyUp"):
        text = key if len(key) == 1 else ""
        tab("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")


def drag(tab: Browser, share: float) -> None:
    """Press on the picture at a share of its width."""
    left, top, width = tab.value(
        "(({left, top, width}) => [left, top, width])(canvas.getBoundingClientRect())"
    )
    at = {"x": left + share * width, "y": top + 20, "button": "left", "clickCount": 1}
    tab("Input.dispatchMouseEvent", type="mousePressed", **at)
    tab("Input.dispatchMouseEvent", type="mouseReleased", **at)


def test_the_page_shows_a_run_and_asks_nobody_else(bundle: Path, tab: Browser) -> None:
    """Frames rise, input and output stand side by side, and no request leaves the origin."""
    tab("Log.enable")
    with watched(bundle) as (url, _):
        tab.open(url, width_px=1280)
        wait_for_frame(tab, 10)
        number = int(text(tab, "frame"))
        wait_for_frame(tab, number + 10)
        tab.wait("document.getElementById('classes').children.length > 0")
        tab.wait("Number(document.getElementById('fps').textContent) > 5")
        assert text(tab, "state") == "live"
        assert text(tab, "source") == "stdin"
        assert re.fullmatch(r"\d+ ms", text(tab, "latency"))
        assert {"sky", "road", "car"} == set(
            tab.value(
                "[...document.querySelectorAll('#classes li')].map(e => e.childNodes[1].data)"
            )
        )
        assert "infer" in text(tab, "stages")
        shown = picture(tab).astype(int)
        assert shown.shape == (HEIGHT, WIDTH, 3)
        expected = label_frame(0, HEIGHT, WIDTH).astype(int)
        assert np.abs(shown[:12, 2:20] - expected[:12, 2:20]).mean() < 8  # input: sky
        assert np.abs(shown[:12, 44:62] - (255 - expected[:12, 44:62])).mean() < 8  # inverted
    origins = {"/".join(url.split("/")[:3]) for url in tab.urls if not url.startswith("data:")}
    assert origins == {"/".join(url.split("/")[:3])}


def test_the_slider_moves_by_mouse_keys_and_touch_of_the_picture(
    bundle: Path, tab: Browser
) -> None:
    """Left of it is the input, right of it the output."""

    def is_input(column: int) -> bool:
        sky = label_frame(0, HEIGHT, WIDTH)[0, 0].astype(int)
        return bool(np.abs(picture(tab)[:12, column].astype(int) - sky).mean() < 10)

    with watched(bundle) as (url, _):
        tab.open(url, width_px=800)
        wait_for_frame(tab, 3)
        assert [is_input(column) for column in (4, 24, 44, 60)] == [True, True, False, False]
        drag(tab, 0.9)
        assert [is_input(column) for column in (4, 24, 44, 60)] == [True, True, True, False]
        for _ in range(18):
            press(tab, "ArrowLeft")
        assert [is_input(column) for column in (4, 24, 44, 60)] == [False] * 4
        tab.value("split.value = 100; split.dispatchEvent(new Event('input'))")
        assert [is_input(column) for column in (4, 24, 44, 60)] == [True] * 4


def test_pause_holds_the_picture_and_a_snapshot_saves_it(
    bundle: Path, tab: Browser, tmp_path: Path
) -> None:
    """Space pauses and goes on; S writes the picture as PNG."""
    folder = tmp_path / "downloads"
    tab("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    with watched(bundle) as (url, _):
        tab.open(url, width_px=800)
        wait_for_frame(tab, 3)
        press(tab, " ")
        tab.wait("document.getElementById('state').textContent == 'paused'")
        number = int(text(tab, "frame"))
        time.sleep(0.5)
        assert int(text(tab, "frame")) == number
        press(tab, "s")
        file = folder / f"frame-{number}.png"
        tab.until("a snapshot", file.exists)
        saved = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(saved, picture(tab))
        press(tab, " ")
        wait_for_frame(tab, number + 3)


def test_the_picture_takes_the_size_of_each_frame(tab: Browser) -> None:
    """Pictures of a folder may differ; none is stretched, or higher than the window."""
    with LiveView("0") as view:
        tab.open(view.url, width_px=800)
        for index, (height, width) in enumerate([(48, 64), (90, 40), (48, 64)]):
            view(FrameTask(picture=label_frame(index, height, width), index=index))
            wait_for_frame(tab, index)
            assert picture(tab).shape == (height, width, 3)
            shown = tab.value("canvas.clientWidth / canvas.clientHeight")
            assert shown == pytest.approx(width / height, rel=0.01)
            assert 300 < tab.value("canvas.clientHeight") <= 0.8 * 900


def test_a_hidden_tab_asks_nothing(bundle: Path, tab: Browser) -> None:
    """What nobody sees costs nothing; it goes on when it is seen again."""
    with watched(bundle) as (url, _):
        tab.open(url, width_px=800)
        wait_for_frame(tab, 3)
        other = tab.another()
        assert tab.value("document.visibilityState") == "hidden"
        time.sleep(1.5)  # a request may be under way
        tab.value("1")
        asked, number = len(tab.urls), int(text(tab, "frame"))
        time.sleep(1)
        tab.value("1")
        assert len(tab.urls) == asked
        tab("Page.bringToFront")
        wait_for_frame(tab, number + 10)
        assert other.urls == []


def test_the_page_goes_on_with_the_next_run(tab: Browser) -> None:
    """A run that ends is told, and the page shows the one that follows at the same address."""
    port = "0"
    for index in (500, 3):
        with LiveView(port) as view:
            if port == "0":
                tab.open(view.url, width_px=800)
            view(FrameTask(picture=label_frame(index), index=index))
            tab.wait(f"document.getElementById('frame').textContent == '{index}'")
            tab.wait("document.getElementById('state').textContent == 'starting'")
            port = view.url.rstrip("/").rsplit(":", 1)[1]
        tab.wait("document.getElementById('state').textContent.startsWith('the run has ended, or')")


def test_a_source_that_is_lost_and_back_is_told(
    bundle: Path, tab: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The page tells it without frames, and goes on with the first one that comes."""
    frames = [label_frame(index, 96, 128) for index in range(100)]
    stream = write_video(tmp_path / "live.ts", frames, fps=25).read_bytes()
    words = ["--model", bundle, "--view", "0"]
    with FakeRTSP(stream, close_after=len(stream) // 2) as server:
        process = subprocess.Popen(
            words_of("p2p-run", server.url, *words), cwd=tmp_path, env=surroundings(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        request.addfinalizer(process.kill)
        assert process.stderr is not None
        url = next(line.split()[-1] for line in process.stderr if "watch at" in line)
        draining = threading.Thread(target=process.stderr.read)
        draining.start()
        tab.open(url, width_px=800)
        wait_for_frame(tab, 1)
    tab.wait("document.getElementById('state').textContent.startsWith('the source is lost')")
    assert "secret" not in tab.value("document.body.innerText")
    with FakeRTSP(stream, port=server.port, duration_s=4):
        tab.wait("document.getElementById('state').textContent == 'live'")
        tab.wait("Number(document.getElementById('reconnects').textContent) > 0")
        process.terminate()
        assert process.wait(LIMIT_S) == 143
    draining.join()
    process.stderr.close()


def test_a_token_opens_the_page_and_leaves_the_address(bundle: Path, tab: Browser) -> None:
    """It becomes a cookie that scripts cannot read; without it there is only a line of text."""
    with watched(bundle, "--view-token", TOKEN) as (url, lines):
        tab.open(url.partition("?")[0], width_px=800)
        assert "needs its token" in tab.value("document.body.innerText")
        tab.open(url, width_px=800)
        wait_for_frame(tab, 3)
        assert tab.value("location.search + document.cookie") == ""
        tab.open(url.partition("?")[0], width_px=800)
        wait_for_frame(tab, 3)
    assert sum(TOKEN in line for line in lines) == 1


def test_phones_and_screens_dark_and_light_are_served(bundle: Path, tab: Browser) -> None:
    """No sideways scroll, the colours asked for, and names for those who do not see."""
    with watched(bundle) as (url, _):
        for width_px, dark in ((360, True), (1280, False)):
            tab.open(url, width_px=width_px, dark=dark)
            tab.wait("document.getElementById('stages').children.length > 0")
            wait_for_frame(tab, 1)
            assert tab.value("document.documentElement.scrollWidth") <= width_px
            content = np.frombuffer(tab.screenshot(), np.uint8)
            levels = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2GRAY)
            assert (np.median(levels) < 60) == dark
        tree = tab("Accessibility.getFullAXTree")["nodes"]
        named = {
            (node["role"]["value"], node["name"]["value"])
            for node in tree
            if not node["ignored"] and "name" in node
        }
        assert {
            ("button", "Pause"), ("button", "Snapshot"), ("heading", "stdin"),
            ("slider", "part of the width that shows the input, in percent"),
        } <= named  # fmt: skip
        assert any(role == "image" and name.startswith("frame ") for role, name in named)
        assert any(node["role"]["value"] == "status" for node in tree)
