"""Pages for a browser, and the page of results.

All pages have one look, ``page.css`` of the runtime. A page of results has input, generated image
and target of validation pairs, with their scores.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

import torch

from p2p_runtime.documents import ASSETS
from p2p_runtime.errors import OutputError, count_of
from p2p_runtime.files import check_writable_folder, protected, write_picture, write_text
from p2p_runtime.model.contract import PixelContract
from p2p_train.data.batches import validation_batches
from p2p_train.data.dataset import PairDataset
from p2p_train.data.layouts.images import Pair, printable

from .score import Translate, counted, distances_of

__all__ = ["fill_page", "html", "is_free", "write_page"]

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_suffix(".html")
STYLE = ASSETS / "page.css"
RESULTS = "p2p-train test"
COLUMNS = ("input", "generated", "target")


def write_page(
    folder: Path,
    translate: Translate,
    pairs: Sequence[Pair],
    contract: PixelContract,
    *,
    title: str,
    facts: str,
) -> str:
    """Write ``index.html`` and, in a folder for each column, its PNGs; return the mean scores.

    A page of results that is there is replaced. There is at least one pair.

    Raises:
        DatasetError: a pair is unreadable.
        OutputError: something cannot be written, or would replace another page or an input.
    """
    page = folder / "index.html"
    check_writable_folder(folder)
    if not is_free(page, RESULTS):
        raise OutputError(f"{page} exists and is no page of results; name another --output")
    scores, sections = [], []
    batches = validation_batches(PairDataset(tuple(pairs), contract), 1)
    with protected([ref.path for pair in pairs for ref in (pair.input, pair.target)], "an input"):
        for name, batch in zip(_names(pairs), batches, strict=True):
            images = translate(batch.source.numpy())
            shown = batch.source.numpy(), images, batch.target.numpy()
            for column, image in zip(COLUMNS, shown, strict=True):
                write_picture(folder / column / name, image[0])
            scores.append(distances_of(counted(torch.from_numpy(images), batch), batch))
            sections.append(_section(name, _words(scores[-1]), contract))
        means = _words(torch.cat(scores))
        top = f'<p>{html(facts)}</p>\n<p class="means">Mean: {means}</p>'
        write_text(page, fill_page(RESULTS, title, top, "\n".join(sections)))
    if others := sum(1 for _ in (folder / "generated").rglob("*.png")) - len(pairs):
        logger.warning("%s/generated holds %s of other runs", folder, count_of(others, "picture"))
    return means


def fill_page(kind: str, title: str, top: str, main: str, *, head: str = "") -> str:
    """Return a page in the look of all of them, written by the command ``kind``.

    The title is plain text; the lines below it, the rest and further lines of the head are HTML.
    """
    words = {"kind": kind, "head": head, "title": html(title), "top": top, "main": main}
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(words, style=STYLE.read_text(encoding="utf-8"))


def is_free(page: Path, kind: str) -> bool:
    """Tell whether a page of this kind may be written there: nothing else has that name."""
    return not page.exists() or f'content="{kind}"'.encode() in page.read_bytes()


def html(text: str) -> str:
    """Return plain text as HTML."""
    return escape(printable(text))


def _names(pairs: Sequence[Pair]) -> list[Path]:
    """Return a name for the pictures of each pair: that of its input, as PNG."""
    paths = [pair.input.path for pair in pairs]
    common = os.path.commonpath([path.parent for path in paths])
    inside = [path.relative_to(common) for path in paths]
    counts = Counter(path.with_suffix(".png") for path in inside)
    alone = (counts[path.with_suffix(".png")] == 1 for path in inside)
    return [
        path.with_suffix(".png" if one else f"{path.suffix}.png")
        for path, one in zip(inside, alone, strict=True)
    ]


def _words(scores: torch.Tensor) -> str:
    l1, psnr, similarity = scores.mean(dim=0).tolist()
    return f"L1 {l1:.4f}, PSNR {psnr:.2f} dB, SSIM {similarity:.4f}"


def _section(name: Path, scores: str, contract: PixelContract) -> str:
    shown = html(str(name.with_suffix("")))
    size = f'width="{contract.width}" height="{contract.height}"'
    figures = []
    for column in COLUMNS:
        link = quote(os.fsencode(f"{column}/{name}"))
        image = f'<img src="{link}" alt="{column} of {shown}" {size} loading="lazy">'
        figures.append(
            f'<figure><a href="{link}">{image}</a><figcaption>{column}</figcaption></figure>'
        )
    row = "\n".join(figures)
    head = f"<h2>{shown}</h2>\n<p>{scores}</p>"
    return f'<section>\n{head}\n<div class="row">\n{row}\n</div>\n</section>'
