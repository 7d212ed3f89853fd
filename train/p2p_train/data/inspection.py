"""Inspect a data set without training: a report, suspicions, and a contact sheet."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import count_of
from p2p_runtime.files import check_writable_folder, write_picture
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig

from .decode import read_pair
from .labels import PALETTE_SHARE, PairSource, open_pairs
from .layouts.images import Pair, printable
from .layouts.index import evenly_spread
from .prepare import find_classes_present
from .suspicions import suspicions_of

__all__ = ["inspect_data", "write_inspection"]

MAX_PAIRS = 400
"""Maximum number of pairs that are read, spread evenly over the data set."""

REPORT_WIDTH = 110
RARE_SHARE = 1e-4
"""Share of the pixels below which a class counts as not seen."""

SHEET_ROWS = 6
GAP_PX = 6
CAPTION_PX = 26
LEGEND_PX = 250
LINE_PX = 22
WHITE = 255

Image = NDArray[np.uint8]
"""(H, W, 3) uint8 BGR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """Measurements of a data set, of which ``pairs_read`` pairs were decoded.

    Attributes:
        sizes: number of pairs by (width, height) of input and target, in pixels.
        exact, near: shares (0-1) of input pixels on a palette colour, and within 31 levels of
            one; None without a palette.
        class_shares: share (0-1) of the preprocessed input pixels of each class, in palette order.
        doubts: what :func:`.suspicions_of` says.
        rows: (input, repaired input, target) of some pairs, (height, width, 3) uint8 BGR each.
    """

    source: PairSource
    pairs_read: int
    sizes: Counter[tuple[tuple[int, ...], tuple[int, ...]]]
    exact: float | None
    near: float | None
    class_shares: tuple[float, ...]
    doubts: tuple[str, ...]
    rows: tuple[tuple[Image, Image, Image], ...]

    @property
    def suspicions(self) -> list[str]:
        """Sentences on what may be wrong, and the flag that would correct it."""
        found, palette = list(self.doubts), self.source.palette
        if self.near is not None and self.near < PALETTE_SHARE:
            found.append(
                f"only {self.near:.0%} of the input pixels lie near the palette's colours: the "
                "right --palette?"
            )
        names = zip(palette.classes if palette else (), self.class_shares, strict=True)
        if never := [name for name, share in names if share < RARE_SHARE]:
            found.append(
                f"{len(never)} classes (nearly) never seen, so not learned: {', '.join(never)}"
            )
        if len(self.sizes) > 1:
            found.append(f"{len(self.sizes)} different image sizes; all are resized to one")
        return found


def write_inspection(config: DataConfig, folder: Path) -> str:
    """Inspect the data of ``config``, write ``inspect.png`` to ``folder``, return a report.

    Raises:
        DatasetError: pairs are missing or broken.
        ConfigError: the palette is unknown or malformed.
        OutputError: the sheet cannot be written.
    """
    check_writable_folder(folder)
    found = inspect_data(config)
    path = folder / "inspect.png"
    write_picture(path, _sheet(found))
    return f"{_report(found)}\nsheet: {path}"


def inspect_data(config: DataConfig) -> Inspection:
    """Read pairs of the data set that ``config`` describes and measure their inputs.

    Raises:
        DatasetError: pairs are missing or broken.
        ConfigError: the palette is unknown or malformed.
    """
    source = open_pairs(config)
    palette = source.palette
    contract = PixelContract(
        height=config.height,
        width=config.width,
        palette=palette,
        classes_present=find_classes_present(source.pairs.train, palette) if palette else None,
    )
    plain = PixelContract(height=config.height, width=config.width, palette=None)
    every = [*source.pairs.train, *source.pairs.val]
    pairs = [every[index] for index in evenly_spread(len(every), MAX_PAIRS)]
    shown = evenly_spread(len(pairs), SHEET_ROWS)
    counts = np.zeros(len(palette.classes) if palette else 0, np.int64)
    shares, sizes, rows = [], [], []
    for number, pair in enumerate(pairs):
        image, target, *_ = read_pair(pair, palette)
        sizes.append((image.shape[1::-1], target.shape[1::-1]))  # (width, height) each
        resized = contract.preprocess(image, repair_labels=False)
        repaired = contract.preprocess(image)
        if number in shown:
            rows.append((resized, repaired, plain.preprocess(target)))
        if palette:
            shares.append((palette.coverage(resized, levels=0), palette.coverage(resized)))
            counts += np.bincount(palette.to_ids(repaired).ravel(), minlength=len(counts))
    exact, near = np.mean(shares, axis=0).tolist() if palette else (None, None)
    return Inspection(
        source=source,
        pairs_read=len(pairs),
        sizes=Counter(sizes),
        exact=exact,
        near=near,
        class_shares=tuple((counts / max(counts.sum(), 1)).tolist()),
        doubts=tuple(suspicions_of(source.pairs)),
        rows=tuple(rows),
    )


def _report(found: Inspection) -> str:
    source, palette = found.source, found.source.palette
    facts = [
        ("data", source.note),
        ("direction", source.pairs.roles),
        ("pairs", f"{len(source.pairs.train)} training, {len(source.pairs.val)} validation"),
        ("left out", source.pairs.left_out or "nothing"),
        *(("for example", _example(pair)) for pair in source.pairs.train[:2]),
        ("read here", f"{found.pairs_read} pairs, evenly spread"),
    ]
    for ((width, height), (target_width, target_height)), count in found.sizes.most_common(3):
        sizes = f"input {width}x{height}, target {target_width}x{target_height}"
        facts.append(("size", f"{sizes} ({count_of(count, 'pair')})"))
    if found.exact is not None and found.near is not None:
        near = f"{found.exact:.1%} exact, {found.near:.1%} within 31 levels; training repairs them"
        facts.append(("colours", near))
    facts += [("suspicious", suspicion) for suspicion in found.suspicions or ("nothing",)]
    wrap = textwrap.TextWrapper(
        REPORT_WIDTH, subsequent_indent=" " * 12, break_long_words=False, break_on_hyphens=False
    )
    lines = [wrap.fill(f"{name:<12}{text}") for name, text in facts]
    if palette is not None:
        lines += ["", f"{'id':>3}  {'class':<22}share of pixels"]
        lines += [f"{i:>3}  {palette.classes[i]:<22}{share:.3%}" for i, share in _ranked(found)]
    return "\n".join(lines) + "\n"


def _example(pair: Pair) -> str:
    source, target = pair.input.path, pair.target.path
    return printable(f"{source}" if source == target else f"{source} -> {target}")


def _ranked(found: Inspection) -> list[tuple[int, float]]:
    """Return (index, share) of the classes, most frequent first."""
    return sorted(enumerate(found.class_shares), key=lambda entry: -entry[1])


def _sheet(found: Inspection) -> Image:
    """Lay the pictures out in captioned columns, with a legend of the classes to the right."""
    inputs, repaired, targets = zip(*found.rows, strict=True)
    palette = found.source.palette
    if palette is None:
        return np.hstack([_column("input", inputs), _column("target", targets)])
    columns = {"input": inputs, "repaired input": repaired, "target": targets}
    pictures = np.hstack([_column(caption, images) for caption, images in columns.items()])
    legend = {
        f"{palette.classes[index]}  {share:.2%}": palette.colours_rgb[index][::-1]
        for index, share in _ranked(found)
    }
    height = max(pictures.shape[0], CAPTION_PX + LINE_PX * len(legend))
    below = ((0, height - pictures.shape[0]), (0, 0), (0, 0))
    return np.hstack([np.pad(pictures, below, constant_values=WHITE), _legend(legend, height)])


def _column(caption: str, images: Sequence[Image]) -> Image:
    top = np.full((CAPTION_PX, images[0].shape[1] + GAP_PX, 3), WHITE, np.uint8)
    _write(top, caption, (GAP_PX, CAPTION_PX - 8))
    gaps = ((0, GAP_PX), (0, GAP_PX), (0, 0))
    return np.vstack([top, *(np.pad(image, gaps, constant_values=WHITE) for image in images)])


def _legend(entries: Mapping[str, tuple[int, ...]], height: int) -> Image:
    canvas = np.full((height, LEGEND_PX, 3), WHITE, np.uint8)
    for line, (text, colour) in enumerate(entries.items()):
        top = CAPTION_PX + line * LINE_PX
        box = (GAP_PX, top), (GAP_PX + LINE_PX - 6, top + LINE_PX - 6)
        cv2.rectangle(canvas, *box, colour, cv2.FILLED)
        cv2.rectangle(canvas, *box, (128, 128, 128), 1)
        _write(canvas, text, (GAP_PX + LINE_PX + 4, top + LINE_PX - 9))
    return canvas


def _write(canvas: Image, text: str, origin: tuple[int, int]) -> None:
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
