"""``p2p-export --web``: a folder from which a browser runs the model."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

import browser
from browser import Browser, headless
from p2p_export.cli import main
from p2p_export.exporting import export
from p2p_export.options import ExportOptions
from p2p_export.targets import web
from p2p_export.targets.onnx import WrittenBundle, attach
from p2p_export.targets.web import ORT_WEB_FILES, read_ort_web, write_web
from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.palette import CAMVID, Palette
from p2p_runtime.labels.resampling import resize
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.translate.translator import Translator
from toy_export import CONTRACT

FILES = ("contract.json", "example.png", "golden.png", "model.onnx", *ORT_WEB_FILES)
FAKE_CAMERA = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"


def p2p_export(*words: object) -> Result:
    """Type ``p2p-export`` with some words."""
    return CliRunner().invoke(main, list(map(str, words)))


@pytest.fixture(scope="session")
def ort_web() -> dict[str, bytes]:
    """Return ONNX Runtime Web, or skip the test where npm cannot fetch it."""
    try:
        return read_ort_web(None)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(
    exported: dict[str, WrittenBundle],
    ort_web: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder of the int8 model."""
    return write_web(exported["int8"].path, tmp_path_factory.mktemp("site"), ort_web).parent


@pytest.fixture(scope="session")
def exact(run: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an int8 bundle that the device computes exactly, as the page does, without VNNI, too.

    The sums of eight-bit weights would saturate there.
    """
    path = tmp_path_factory.mktemp("exact") / "model.onnx"
    int8 = {"int8": True, "int8_profile": "x86-avx2", "calibration": inputs}
    return export(ExportOptions(source=run, output=path, **int8))[0].path


class Server:
    """A static server with a log of the paths asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths: list[str] = []
        handler = partial(type("Handler", (_Handler,), {"paths": self.paths}), directory=folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    paths: list[str]

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Note the path, and write nothing to stderr."""
        self.paths.append(self.path)

    def log_message(self, *words: object) -> None:
        """Write nothing."""


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """Serve a folder."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a tab of a browser with a camera."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browser, "FLAGS", f"{browser.FLAGS} {FAKE_CAMERA}")
        with headless(tmp_path_factory.mktemp("profile")) as opened:
            yield opened


@pytest.fixture(scope="module")
def page(
    exact: Path, ort_web: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """Return a tab with the page, whose server is gone: all that it does, it does without one."""
    index = write_web(exact, tmp_path_factory.mktemp("exact-site"), ort_web)
    with headless(tmp_path_factory.mktemp("profile")) as opened:
        with served(index.parent) as server:
            show(opened, server.url)
        yield opened


def state(tab: Browser) -> str:
    """Return the line that tells how the page is."""
    return str(tab.value("document.getElementById('state').textContent"))


def show(tab: Browser, url: str, refusal: str = "") -> None:
    """Open the page and wait until it can be drawn on, or says why not."""
    tab.open(url, width_px=800)
    tab.wait(
        "!document.getElementById('tool').hidden || "
        "/ (again|browser)[.]$/.test(document.getElementById('state').textContent)"
    )
    assert refusal in state(tab)
    assert tab.value("document.getElementById('tool').hidden") == bool(refusal)


def give(tab: Browser, path: Path) -> None:
    """Open a file on the page, as a user does, and wait until the page has dealt with it."""
    document = tab("DOM.getDocument")["root"]["nodeId"]
    node = tab("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    tab("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    tab.wait(f"document.getElementById('state').textContent.startsWith({json.dumps(path.name)})")


def pixels(tab: Browser, canvas: str) -> np.ndarray:
    """Return what a canvas shows, (H, W, 3) uint8 BGR."""
    content = tab.value(f"document.getElementById('{canvas}').toDataURL()").partition(",")[2]
    return cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)


def write(path: Path, picture: np.ndarray) -> Path:
    """Write a PNG."""
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def test_the_page_generates_what_the_device_does(
    page: Browser, exact: Path, tmp_path: Path
) -> None:
    """Twenty label maps of all sizes become the same inputs and, to the level, the same images."""
    rng = np.random.default_rng(7)
    colours, sides = CAMVID.colours_bgr(), [(64, 64), (1, 1), (63, 65), (720, 1280)]
    sides += [tuple(rng.integers(2, 300, 2)) for _ in range(16)]
    with Translator.load(exact, device="cpu") as translate:
        for number, size in enumerate(sides):
            label = colours[rng.integers(0, len(colours), size)]
            give(page, write(tmp_path / f"{number}.png", label))
            assert state(page) == f"{number}.png"
            expected = CONTRACT.preprocess(label)
            assert np.array_equal(pixels(page, "input"), expected)
            assert np.array_equal(pixels(page, "image"), translate(expected))


def test_colours_off_the_palette_become_the_nearest(page: Browser, tmp_path: Path) -> None:
    """Ties and all; if many are far from every colour, the page says so."""
    rng = np.random.default_rng(3)
    label = CAMVID.colours_bgr()[rng.integers(0, 12, (90, 120))]
    blurred = cv2.GaussianBlur(label, (0, 0), 1.5)
    near = np.clip(label.astype(int) + rng.integers(-9, 10, label.shape), 0, 255).astype(np.uint8)
    for name, picture in (("near", near), ("blurred", blurred)):
        give(page, write(tmp_path / f"{name}.png", picture))
        expected = CAMVID.nearest_colours(resize(picture, 64, 64))
        assert np.array_equal(pixels(page, "input"), expected)
        assert ("far from every label colour" in state(page)) == (name == "blurred")


@pytest.mark.slow
def test_classes_that_training_never_saw_are_not_offered(
    exported: dict[str, WrittenBundle], ort_web: dict[str, bytes], tab: Browser, tmp_path: Path
) -> None:
    """Brush and nearest colour keep to the classes present, as label repair does."""
    path, present = tmp_path / "model.onnx", (0, 3, 4)
    bundle = ModelBundle.load(exported["fp32"].path)
    contract = replace(bundle.contract, classes_present=present)
    model = onnx.load(bundle.path)
    del model.metadata_props[:]
    graph = model.SerializeToString(deterministic=True)
    path.write_bytes(attach(graph, replace(bundle.info, contract=contract)))
    page = write_web(path, tmp_path / "site", ort_web)
    with served(page.parent) as server:
        show(tab, server.url)
        assert tab.value(
            "[...document.querySelectorAll('fieldset label')].map(x => x.innerText)"
        ) == [CAMVID.classes[index] for index in present]
        known = {tuple(CAMVID.colours_rgb[index]) for index in present}
        assert {
            tuple(pixel[::-1]) for pixel in pixels(tab, "input").reshape(-1, 3).tolist()
        } <= known


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(site: Path, tab: Browser, tmp_path: Path, name: str) -> None:
    """Model, contract, runtime and pictures: the page names the file and shows no picture."""
    shutil.copytree(site, tmp_path / "site")
    content = bytearray((site / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "site" / name).write_bytes(content)
    with served(tmp_path / "site") as server:
        show(tab, server.url, "Copy or export the folder again")
        assert state(tab).startswith(f"{name} is refused: it is not the file that was exported")
        assert tab.value("document.getElementById('tool').hidden")


def test_a_missing_file_is_named(site: Path, tab: Browser, tmp_path: Path) -> None:
    """A folder that was copied in part says what is missing."""
    shutil.copytree(site, tmp_path / "site")
    (tmp_path / "site" / "model.onnx").unlink()
    with served(tmp_path / "site") as server:
        show(tab, server.url, "model.onnx is missing on the server")


@pytest.mark.slow
def test_a_browser_that_computes_something_else_is_refused(
    exported: dict[str, WrittenBundle],
    ort_web: dict[str, bytes],
    tab: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All bytes are right, but the golden frame has another image: no picture is shown."""
    monkeypatch.setattr(
        web.GoldenFrame, "draw", lambda contract, _: np.zeros((64, 64, 3), np.uint8)
    )
    page = write_web(exported["int8"].path, tmp_path / "site", ort_web)
    with served(page.parent) as server:
        show(tab, server.url, "it does not compute what was exported")
        assert tab.value("document.getElementById('tool').hidden")


@pytest.mark.slow
def test_no_request_leaves_the_origin(site: Path, tab: Browser) -> None:
    """The page loads each file once, from its own server, and its policy allows no other place."""
    before = len(tab.urls)
    with served(site) as server, served(site) as other:
        show(tab, server.url)
        ours = (server.url, f"blob:{server.url}")
        assert [url for url in tab.urls[before:] if not url.startswith(ours)] == []
        assert sorted(server.paths) == sorted(["/", *(f"/{name}" for name in FILES)])
        asked = "fetch('{}', {{mode: 'no-cors'}}).then(() => 'sent', () => 'refused')"
        assert tab.value(asked.format(f"{server.url}onnxruntime-LICENSE")) == "sent"
        assert tab.value(asked.format(f"{other.url}onnxruntime-LICENSE")) == "refused"
        assert other.paths == []


def test_a_brush_draws_in_the_colours_of_the_palette(page: Browser, exact: Path) -> None:
    """A stroke has exact colours, no blurred edge, and the picture follows."""
    with Translator.load(exact, device="cpu") as translate:
        page.value("document.querySelectorAll('fieldset input')[0].click()")
        page.value("document.getElementById('fill').click()")
        page.value("document.querySelectorAll('fieldset input')[3].click()")
        box = page.value("JSON.stringify(document.getElementById('input').getBoundingClientRect())")
        left, top, side = (json.loads(box)[name] for name in ("left", "top", "width"))
        for kind, share in (("mousePressed", 0.2), ("mouseMoved", 0.8), ("mouseReleased", 0.8)):
            x, y = left + share * side, top + 0.5 * side
            page("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        drawn, sky, road = pixels(page, "input"), *CAMVID.colours_bgr()[[0, 3]]
        assert (drawn[32, 14:50] == road).all()
        assert (drawn[12] == sky).all()
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 2
        expected = translate(drawn)
        page.until("its image", lambda: np.array_equal(pixels(page, "image"), expected))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("ids.png", np.arange(4, dtype=np.uint8).repeat(16).reshape(8, 8), "it holds class ids"),
        ("text.png", None, "is refused: "),
        ("text.mp4", None, "is refused: "),
    ],
)
def test_a_file_that_is_no_label_map_is_refused(
    page: Browser, tmp_path: Path, name: str, content: np.ndarray | None, reason: str
) -> None:
    """Class ids, and what the browser cannot read, are one line; the last picture stays."""
    path = tmp_path / name
    path.write_bytes(b"text" if content is None else cv2.imencode(".png", content)[1].tobytes())
    before = pixels(page, "image")
    give(page, path)
    assert reason in state(page)
    assert np.array_equal(pixels(page, "image"), before)


def test_whatever_a_page_never_does_is_told(page: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests in a browser do not hang: they name what they waited for, and what the page says."""
    monkeypatch.setattr(browser, "LIMIT_S", 2)
    with pytest.raises(AssertionError, match=r"not within 2 s: 1 > 2; the page: Draw labels"):
        page.wait("1 > 2")
    with pytest.raises(TimeoutError, match=r"no answer within 2 s to Runtime[.]evaluate"):
        page.value("new Promise(() => {})")


def test_a_camera_that_is_not_there_is_one_line(page: Browser) -> None:
    """Whoever clicks reads why nothing moves."""
    page.value("document.getElementById('camera').click()")
    page.wait("document.getElementById('state').textContent.startsWith('The camera is refused: ')")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo.mp4", "Camera"])
def test_videos_and_cameras_play(site: Path, tab: Browser, root: Path, name: str) -> None:
    """Picture after picture is translated until Stop."""
    with served(site) as server:
        show(tab, server.url)
        before = pixels(tab, "input")
        if name == "Camera":
            tab.value("document.getElementById('camera').click()")
        else:
            give(tab, root / "runtime/p2p_runtime/assets" / name)
        tab.wait("!document.getElementById('stop').hidden")
        tab.until("a picture", lambda: not np.array_equal(pixels(tab, "input"), before))
        seen = pixels(tab, "input")
        tab.until("the next", lambda: not np.array_equal(pixels(tab, "input"), seen))
        assert state(tab).startswith(name)
        tab.value("document.getElementById('stop').click()")
        assert tab.value("document.getElementById('stop').hidden")


@pytest.mark.slow
def test_the_page_on_phones_and_screens(site: Path, tab: Browser) -> None:
    """No sideways scroll, dark and light; input and picture lie side by side."""
    with served(site) as server:
        for width_px, dark in ((360, True), (1280, False)):
            tab.open(server.url, width_px=width_px, dark=dark)
            tab.wait("!document.getElementById('tool').hidden")
            assert tab.value("document.documentElement.scrollWidth") <= width_px
            tops = "['input', 'image'].map(id => document.getElementById(id).offsetTop)"
            assert len(set(tab.value(tops))) == 1
            shot = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
            assert (np.median(shot) < 60) == dark


def test_the_page_without_a_server_says_what_to_type(site: Path, tab: Browser) -> None:
    """Browsers load no files from files."""
    tab.open(site / "index.html", width_px=800)
    assert "python -m http.server" in state(tab)


def test_models_of_other_inputs_begin_with_a_sheet(exported: dict[str, WrittenBundle]) -> None:
    """A street is drawn only in a palette that has its classes."""
    other = Palette(name="tissue", classes=("cell",), colours_rgb=((9, 8, 7),))
    assert len(np.unique(web.example(CONTRACT).reshape(-1, 3), axis=0)) > 4
    assert (web.example(replace(CONTRACT, palette=None)) == 255).all()
    assert (web.example(replace(CONTRACT, palette=other)) == (7, 8, 9)).all()


@pytest.mark.parametrize(
    ("words", "exit_code", "reason"),
    [
        (["--ort-web", "x.tgz"], 2, "--ort-web belongs to --web"),
        (["--web", "site", "--ort-web", "none.tgz"], 2, "cannot read none.tgz"),
        (["--web", "site", "--ort-web", "other.tgz"], 2, "other.tgz is not onnxruntime-web@"),
    ],
)
def test_a_runtime_that_is_not_the_pinned_one_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, exit_code: int, reason: str
) -> None:
    """One line, before the export begins, says what to type."""
    monkeypatch.chdir(tmp_path)
    Path("other.tgz").write_bytes(b"other")
    done = p2p_export(run, *words)
    assert (done.exit_code, done.stderr.count("\n")) == (exit_code, 1)
    assert reason in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"other.tgz"}


@pytest.mark.parametrize(
    ("npm", "reason"),
    [("", "npm to fetch it"), ("#!/bin/sh\necho code ENOTFOUND >&2; exit 1\n", "code ENOTFOUND")],
)
def test_without_npm_or_a_network_one_line_says_what_to_type(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, npm: str, reason: str
) -> None:
    """The package may be fetched elsewhere."""
    if npm:
        (tmp_path / "npm").write_text(npm)
        (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = p2p_export(run, "--web", tmp_path / "site")
    error = done.stderr.splitlines()[-1]
    assert (done.exit_code, error.partition(": ")[0]) == (2, "error")
    assert reason in error
    assert "type: npm pack onnxruntime-web@" in error
    assert "--ort-web onnxruntime-web-" in error


@pytest.fixture
def without_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take some bytes for ONNX Runtime Web, so that no test needs npm."""
    files = dict.fromkeys(ORT_WEB_FILES, b"runtime")
    monkeypatch.setattr("p2p_export.exporting.read_ort_web", lambda _: files)
    monkeypatch.setattr(web, "read_ort_web", lambda _: files)


@pytest.mark.usefixtures("without_runtime", "traced")
def test_an_export_may_end_in_a_folder_for_the_web(run: Path, tmp_path: Path) -> None:
    """It has all files, both licences and the new model; the command says how to see it."""
    site = tmp_path / "site"
    done = p2p_export(run, "--fp16", "--output", tmp_path, "--web", site)
    assert done.exit_code == 0, done.output
    assert f"python -m http.server --directory {site}" in done.stdout
    names = {path.name for path in site.iterdir()}
    notices = {"onnxruntime-LICENSE", "onnxruntime-ThirdPartyNotices.txt"}
    assert names == {"index.html", *FILES, *notices}
    assert (site / "model.onnx").read_bytes() == (tmp_path / "model-fp32.onnx").read_bytes()
    assert "MIT License" in (site / "onnxruntime-LICENSE").read_text()


@pytest.mark.usefixtures("without_runtime")
def test_a_bundle_becomes_a_folder_without_an_export(
    exported: dict[str, WrittenBundle], tmp_path: Path
) -> None:
    """A second one replaces it, and a page of something else stays."""
    site = tmp_path / "site"
    for name in ("int8", "fp32"):
        done = p2p_export(exported[name].path, "--web", site)
        assert done.exit_code == 0, done.output
        assert (site / "model.onnx").read_bytes() == exported[name].path.read_bytes()
    (site / "index.html").write_text("<h1>Mine</h1>")
    done = p2p_export(exported["int8"].path, "--web", site)
    assert (done.exit_code, done.stderr.count("\n")) == (3, 1)
    assert (site / "index.html").read_text() == "<h1>Mine</h1>"
