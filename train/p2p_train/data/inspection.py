"""Inspect a data set without training: a report, suspicions, and a contact sheet."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.files import check_writable_folder, write_picture
from p2p_runtime.labels.palette import PRESETS, Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import DataConfig

from .classes_present import find_classes_present
from .contact_sheet import contact_sheet
from .decode import read_pair
from .labels import PALETTE_SHARE, PairSource, open_pairs
from .layouts import evenly_spread

if TYPE_CHECKING:
    Row = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]

__all__ = ["inspect_data", "write_inspection"]

MAX_PAIRS = 400
"""Maximum number of pairs that are read, spread evenly over the data set."""

SHEET_ROWS = 6
REPORT_WIDTH = 110
SWAP_MARGIN = 0.1
"""Margin by which targets must be nearer to a palette than inputs, to be taken for label maps.
Photos are near a palette more often than one expects."""

RARE_SHARE = 1e-4
"""Share of the pixels below which a class counts as not seen."""

Sizes = Counter[tuple[tuple[int, int], tuple[int, int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """Measurements of a data set.

    Attributes:
        source: the data set and how its inputs are read.
        pairs_read: number of pairs that were decoded.
        sizes: number of pairs by (width, height) of input and target, in pixels.
        exact, near: shares (0-1) of input pixels on a palette colour, and within 31 levels of
            one; None without a palette.
        target_near: share of target pixels within 31 levels of that palette; without one, of the
            preset that fits best.
        class_shares: share (0-1) of the preprocessed input pixels of each class, in palette order.
        suspicions: sentences; empty if nothing is suspicious.
        rows: (input, repaired input, target) of some pairs, (height, width, 3) uint8 BGR each.
    """

    source: PairSource
    pairs_read: int
    sizes: Sizes
    exact: float | None
    near: float | None
    target_near: float
    class_shares: tuple[float, ...]
    suspicions: tuple[str, ...]
    rows: tuple[Row, ...]


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
    measured, sizes, rows = _Measured(palette), Sizes(), []
    for number, pair in enumerate(pairs):
        image, target = read_pair(pair, palette)
        sizes[_size(image), _size(target)] += 1
        row = (
            contract.preprocess(image, repair_labels=False),
            contract.preprocess(image),
            plain.preprocess(target),
        )
        measured.add(*row)
        if number in shown:
            rows.append(row)
    return Inspection(
        source=source,
        pairs_read=len(pairs),
        sizes=sizes,
        exact=measured.mean("exact"),
        near=measured.mean("near"),
        target_near=measured.mean("target") or 0.0,
        class_shares=tuple((measured.counts / max(measured.counts.sum(), 1)).tolist()),
        suspicions=tuple(_suspicions(source, measured, sizes)),
        rows=tuple(rows),
    )


class _Measured:
    """Shares of pixels near the palette's colours, and counts of classes, over the pairs."""

    def __init__(self, palette: Palette | None) -> None:
        self._palette = palette
        self._shares: dict[str, list[float]] = {"exact": [], "near": [], "target": []}
        self._target_presets: dict[str, list[float]] = {name: [] for name in PRESETS}
        self.counts = np.zeros(len(palette.classes) if palette else 0, np.int64)

    def add(
        self, image: NDArray[np.uint8], repaired: NDArray[np.uint8], target: NDArray[np.uint8]
    ) -> None:
        """Measure a pair: its input as resized, and with repaired labels; its target."""
        if self._palette is None:
            for name, preset in PRESETS.items():
                self._target_presets[name].append(preset.coverage(target))
            return
        self._shares["exact"].append(self._palette.coverage(image, levels=0))
        self._shares["near"].append(self._palette.coverage(image))
        self._shares["target"].append(self._palette.coverage(target))
        ids = self._palette.to_ids(repaired)
        self.counts += np.bincount(ids.ravel(), minlength=len(self.counts))

    def mean(self, what: str) -> float | None:
        """Return a mean share, or None if it was never measured."""
        if what == "target" and self._palette is None:
            return max(float(np.mean(shares)) for shares in self._target_presets.values())
        return float(np.mean(self._shares[what])) if self._shares[what] else None


def _suspicions(source: PairSource, measured: _Measured, sizes: Sizes) -> list[str]:
    """Return what may be wrong, and the flag that would correct it."""
    found = []
    near, target = measured.mean("near"), measured.mean("target") or 0.0
    if target >= PALETTE_SHARE if near is None else target > near + SWAP_MARGIN:
        found.append(
            f"the targets look like label maps ({target:.0%} near palette colours) and the inputs "
            f"do not{'' if near is None else f' ({near:.0%})'}: swapped? {_swap_flags(source)}"
        )
    elif near is not None and near < PALETTE_SHARE:
        found.append(
            f"only {near:.0%} of the input pixels lie near the palette's colours: the right "
            "--palette?"
        )
    if source.palette is not None:
        names = zip(source.palette.classes, measured.counts, strict=True)
        never = [name for name, count in names if count < RARE_SHARE * measured.counts.sum()]
        if never:
            found.append(
                f"{len(never)} classes (nearly) never seen, so not learned: {', '.join(never)}"
            )
    if len(sizes) > 1:
        found.append(f"{len(sizes)} different image sizes; all are resized to one")
    return found


def _swap_flags(source: PairSource) -> str:
    first = source.pairs.train[0]
    if source.pairs.side_by_side:
        return f"try --input-side {first.target.part}"
    names = first.target.path.parent.name, first.input.path.parent.name
    return f"try --input-dir {names[0]} --target-dir {names[1]}"


def _report(found: Inspection) -> str:
    source, palette = found.source, found.source.palette
    facts = [
        ("data", source.note),
        ("pairs", f"{len(source.pairs.train)} training, {len(source.pairs.val)} validation"),
        ("read here", f"{found.pairs_read} pairs, evenly spread"),
    ]
    for ((width, height), (target_width, target_height)), count in found.sizes.most_common(3):
        sizes = f"input {width}x{height}, target {target_width}x{target_height}"
        facts.append(("size", f"{sizes} ({count} pairs)"))
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


def _ranked(found: Inspection) -> list[tuple[int, float]]:
    """Return (index, share) of the classes, most frequent first."""
    return sorted(enumerate(found.class_shares), key=lambda entry: -entry[1])


def _sheet(found: Inspection) -> NDArray[np.uint8]:
    inputs, repaired, targets = zip(*found.rows, strict=True)
    palette = found.source.palette
    if palette is None:
        return contact_sheet({"input": inputs, "target": targets}, {})
    legend = {
        f"{palette.classes[index]}  {share:.2%}": palette.colours_rgb[index][::-1]
        for index, share in _ranked(found)
    }
    return contact_sheet({"input": inputs, "repaired input": repaired, "target": targets}, legend)


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]
