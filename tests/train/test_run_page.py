"""``RUN/index.html``: a run as a browser shows it, from its first step to its end."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from browser import headless
from commands import p2p_train
from p2p_runtime.errors import TrainingError
from p2p_train.config import TrainConfig
from p2p_train.losses import loss_curves
from p2p_train.training import page as page_module
from p2p_train.training.page import RunPage
from p2p_train.training.recorder import RunLog

TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0 --epochs 2"
LINE = {"epoch": 1.0, "step": 5, "val_l1": 0.25, "val_psnr_db": 15.0, "val_ssim": 0.5}
LINE |= {"mean_image_l1": 0.3, "generator_l1": 0.2}


class FakeRecorder:
    """What a page asks a recorder for."""

    def __init__(self, run_dir: Path) -> None:
        self.log = RunLog(run_dir, 0, loss_curves(TrainConfig()))
        self.doubt: str | None = None


def make_page(run_dir: Path) -> tuple[RunPage, FakeRecorder]:
    """Return the page of a run without a step, and what it asks."""
    recorder = FakeRecorder(run_dir)
    return RunPage(run_dir, TrainConfig(), ["<facts>"], recorder), recorder  # type: ignore[arg-type]


def text_of(run_dir: Path) -> str:
    """Return the page as it stands."""
    return (run_dir / "index.html").read_text(encoding="utf-8")


def test_a_run_says_where_its_page_is_and_ends_with_it(data: Path, tmp_path: Path) -> None:
    """The page is named at the start and at the end, and shows what the run has written."""
    result = p2p_train("--data", data, TINY, "--run-dir", tmp_path / "run")
    page = tmp_path / "run" / "index.html"
    assert f"to follow it in a browser, open {page}" in result.stderr
    assert f"samples and curves: {page}" in result.stdout
    text = text_of(tmp_path / "run")
    assert "<title>100% of run</title>" in text
    assert "finished" in text
    assert "http-equiv" not in text
    assert len(re.findall(r"<td>[\d.]+</td><td>[\d.]+</td>", text)) == 5
    links = re.findall(r'(?:src|href)="([^"?]*)', text)
    assert {"samples/latest.png", "curves.png"} == set(links)
    assert "<script" not in text and "url(" not in text
    assert '<div class="given"><dt>ngf</dt><dd>4</dd></div>' in text
    assert "<div><dt>beta1</dt><dd>0.5</dd></div>" in text


def test_a_page_is_there_before_the_first_epoch_and_loads_itself_again(tmp_path: Path) -> None:
    """It has no pictures yet, and no broken ones."""
    page, _ = make_page(tmp_path)
    page.show(["step 0/20"], 0.0)
    text = text_of(tmp_path)
    assert '<meta http-equiv="refresh" content="10">' in text
    assert "<img" not in text
    assert "step 0/20" in text and "&lt;facts&gt;" in text


def test_a_page_is_written_now_and_then_and_at_each_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps in between cost nothing."""
    now_s = [100.0]
    monkeypatch.setattr(page_module.time, "monotonic", lambda: now_s[0])
    page, recorder = make_page(tmp_path)
    shown = []
    for step, after_s in enumerate((0.0, 1.0, 10.0, 1.0, 1.0)):
        now_s[0] += after_s
        recorder.log.records += [LINE] * (step == 3)
        page.show([f"step {step}/20"], step / 20)
        shown += re.findall(r"step (\d+)/20", text_of(tmp_path))
    assert shown == ["0", "0", "2", "3", "3"]


@pytest.mark.parametrize(
    ("share", "error", "words"),
    [
        (1.0, None, "finished"),
        (0.5, None, "stopped; go on with: p2p-train --resume "),
        (0.5, TrainingError("loss <L1> is nan"), "ended by an error: loss &lt;L1&gt; is nan"),
        (0.5, KeyboardInterrupt(), "ended by an error: KeyboardInterrupt"),
    ],
)
def test_a_page_tells_how_the_run_ended(
    tmp_path: Path, share: float, error: BaseException | None, words: str
) -> None:
    """It then stays as it is; what a run has doubts about stands there, too."""
    page, recorder = make_page(tmp_path)
    page.show(["step"], share)
    recorder.doubt = "all samples are alike"
    page.__exit__(None if error is None else type(error), error, None)
    text = text_of(tmp_path)
    assert words in text and "all samples are alike" in text
    assert "http-equiv" not in text


def test_a_page_that_cannot_be_written_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on; a folder stands where the page should be."""
    (tmp_path / "run" / "index.html").mkdir(parents=True)
    page, _ = make_page(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            page._due_s = 0.0
            page.show(["step"], 0.5)
    assert caplog.text.count("index.html is not up to date (Is a directory)") == 1


def test_a_page_of_something_else_is_not_replaced(data: Path, tmp_path: Path) -> None:
    """A new run refuses the folder; a resumed one warns."""
    words = ["--data", data, TINY, "--run-dir", tmp_path / "run"]
    own = tmp_path / "run" / "index.html"
    own.parent.mkdir()
    own.write_text("<h1>Mine</h1>")
    assert "index.html" in p2p_train(*words, exit_code=2).stderr
    own.unlink()
    p2p_train(*words, "--max-steps", 1)
    p2p_train("test", tmp_path / "run", "--output", tmp_path / "run", exit_code=3)
    own.write_text("<h1>Mine</h1>")
    result = p2p_train(*words, "--resume", tmp_path / "run", "--max-steps", 2)
    assert "is no page of a run" in result.stderr
    assert own.read_text() == "<h1>Mine</h1>"


def test_a_page_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    """On a phone and a screen, dark and light: pictures, no sideways scroll, a load by itself."""
    monkeypatch.setattr(page_module, "EVERY_S", 1)
    words = ["--data", data, TINY, "--run-dir", tmp_path / "run"]
    p2p_train(*words)
    with headless(tmp_path / "profile") as tab:
        page = tmp_path / "run" / "index.html"
        for width_px, dark in ((400, True), (1280, False)):
            tab.open(page, width_px=width_px, dark=dark)
            assert tab.value("document.documentElement.scrollWidth") <= width_px
            widths = tab.value("[...document.images].map(image => image.naturalWidth)")
            assert len(widths) == 3 and min(widths) > 90
            content = np.frombuffer(tab.screenshot(), np.uint8)
            levels = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2GRAY)
            assert levels.shape[1] == width_px
            assert levels.std() > 20
            assert (np.median(levels) < 60) == dark
        page, _ = make_page(tmp_path)
        page.show(["step 1/2"], 0.5)
        tab.open(tmp_path / "index.html", width_px=400)
        page._due_s = 0.0
        page.show(["step 2/2"], 1.0)
        tab.wait("document.body.innerText.includes('step 2/2')")
