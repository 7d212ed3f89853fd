"""``p2p-train test``: a page of results that any browser shows."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import cv2
import numpy as np
import pytest

from commands import p2p_train
from toy_pairs import draw_pair, write_folders

TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0 --max-steps 1"


class Page(HTMLParser):
    """The parts of a page: its pictures' attributes, its text, and what it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += [dict(attrs)] * (tag == "img")
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    """A run of one step on three validation pairs."""
    p2p_train("--data", data, TINY, "--run-dir", tmp_path / "run")
    return tmp_path / "run"


def test_a_page_shows_every_pair_with_its_scores(run: Path, tmp_path: Path) -> None:
    """Three pictures a pair lie beside the page; the means are those of ``p2p-train score``."""
    result = p2p_train("test", run, "--device", "cpu")
    assert result.stdout.endswith(f"open {run / 'results' / 'index.html'}\n")
    page = Page(run / "results" / "index.html")
    assert [image["alt"] for image in page.images][:3] == [
        f"{column} of 100" for column in ("input", "generated", "target")
    ]
    assert len(page.images) == 9
    for image in page.images:
        assert (image["width"], image["height"]) == ("32", "32")
        assert image["src"] is not None
        assert cv2.imread(str(run / "results" / image["src"])) is not None  # noqa: TID251
    target = cv2.imread(str(run / "results" / "target" / "101.png"))  # noqa: TID251
    assert np.array_equal(target[..., ::-1], draw_pair(101)[:, :32])
    p2p_train("score", run, "--json", tmp_path / "s.json")
    scores = json.loads((tmp_path / "s.json").read_text())
    means = f"L1 {scores['l1']:.4f}, PSNR {scores['psnr_db']:.2f} dB, SSIM {scores['ssim']:.4f}"
    assert f"Mean: {means}" in page.text
    assert means in result.stdout
    assert "best.pt, step 1; 3 of 3 validation pairs" in page.text
    assert len(re.findall(r"L1 [\d.]+, PSNR [\d.]+ dB, SSIM -?[\d.]+", page.text)) == 4


def test_the_page_needs_nothing_else(run: Path) -> None:
    """No script and no other place; it has a dark side and a phone's width."""
    p2p_train("test", run, "--device", "cpu")
    page = Page(run / "results" / "index.html")
    assert page.links
    assert all((run / "results" / link).is_file() for link in page.links)
    assert "<script" not in page.source and "url(" not in page.source
    assert "prefers-color-scheme: dark" in page.source
    assert "width=device-width" in page.source


def test_some_pairs_of_another_folder(run: Path, tmp_path: Path) -> None:
    """``--images`` spreads over what ``--data`` holds; ``--output`` chooses the place."""
    folder = tmp_path / "more"
    for part, count in (("train", 2), ("val", 5)):
        write_folders(folder / part / "input", folder / part / "target", count)
    words = ("test", run, "--data", folder, "--output", tmp_path / "page", "--device", "cpu")
    p2p_train(*words, "--images", 5)
    result = p2p_train(*words, "--images", 3)
    assert "page/generated holds 2 pictures of other runs" in result.stderr
    page = Page(tmp_path / "page" / "index.html")
    assert [image["src"] for image in page.images[1::3]] == [
        f"generated/{name}.png" for name in ("000", "002", "004")
    ]
    assert f"3 of 5 validation pairs of {folder}, input to target" in page.text


def test_names_of_every_kind(run: Path, tmp_path: Path) -> None:
    """Names with marks of HTML and URLs, bytes that are no UTF-8, twins, and folders in folders."""
    folder = tmp_path / "odd"
    write_folders(folder / "train" / "input", folder / "train" / "target", 2)
    source, target = (folder / "val" / side for side in ("input", "target"))
    write_folders(source, target, 3)
    odd = (b'<b>&"%41#?', b"\xff\xfe", b"a/deep.er")
    for index, name in enumerate(map(os.fsdecode, odd)):
        for side in (source, target):
            (side / name).parent.mkdir(exist_ok=True)
            (side / f"{index:03d}.png").rename(side / f"{name}.png")
    p2p_train("test", run, "--data", folder, "--device", "cpu")
    page = Page(run / "results" / "index.html")
    assert '<b>&"%41#?' in page.text
    found = [unquote_to_bytes(str(image["src"])) for image in page.images[::3]]
    assert sorted(found) == sorted(b"input/" + name + b".png" for name in odd)
    assert all((run / "results" / os.fsdecode(name)).is_file() for name in found)


def test_two_pictures_of_one_stem_stay_two(run: Path, data: Path) -> None:
    """``101.png`` and ``101.bmp`` do not replace each other."""
    cv2.imwrite(str(data / "val" / "101.bmp"), draw_pair(7))  # noqa: TID251
    p2p_train("test", run, "--device", "cpu")
    names = {path.name for path in (run / "results" / "input").iterdir()}
    assert names == {"100.png", "101.png.png", "101.bmp.png", "102.png"}


def test_another_page_is_not_replaced(run: Path, tmp_path: Path) -> None:
    """An ``index.html`` of something else is refused; an own one is written again."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<h1>Mine</h1>")
    result = p2p_train("test", run, "--output", tmp_path / "site", exit_code=3)
    assert result.stderr.count("\n") == 1
    assert "is no page of results" in result.stderr
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["index.html"]
    for _ in range(2):
        p2p_train("test", run, "--device", "cpu")


def test_inputs_are_not_replaced(run: Path, tmp_path: Path) -> None:
    """A page whose pictures would replace those of the data set is refused."""
    folder = tmp_path / "mine"
    write_folders(folder / "input", folder / "target", 4)
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    words = ("test", run, "--data", folder, "--output", folder, "--device", "cpu")
    result = p2p_train(*words, exit_code=3)
    assert "is an input" in result.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
