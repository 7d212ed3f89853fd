"""Look at a data set without training: a report, what is suspicious, and a contact sheet."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from p2p_runtime.files import check_writable_folder, write_picture
from p2p_runtime.labels.palette import PRESETS, Palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig

from .classes_present import find_classes_present
from .contact_sheet import LegendEntry, contact_sheet
from .decode import read_pair
from .labels import PALETTE_SHARE, Source, open_source
from .layouts import Pair

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Inspection", "inspect_data", "look_at"]

MOST_PAIRS = 400
"""Pairs that are read, spread evenly over the data set; all of a smaller one."""

SHEET_ROWS = 6
SWAP_MARGIN = 0.1
"""Photos lie near a palette more often than one thinks; real label maps still more often."""

RARE_SHARE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What was seen.

    Attributes:
        source: the data set and how its inputs are read.
        pairs_read: how many pairs were decoded.
        sizes: how often each (width, height) of input and target was met, in pixels.
        exact, near: shares (0-1) of input pixels on a palette colour, and within 31 levels of
            one; None without a palette.
        target_near: share of target pixels within 31 levels of that palette; without one, of the
            preset that fits best.
        class_shares: share (0-1) of the fitted input pixels of each class, in palette order.
        suspicions: sentences; empty if all looks well.
        rows: (input, fitted input, target) of some pairs, (height, width, 3) uint8 BGR each.
    """

    source: Source
    pairs_read: int
    sizes: Counter[tuple[tuple[int, int], tuple[int, int]]]
    exact: float | None
    near: float | None
    target_near: float
    class_shares: tuple[float, ...]
    suspicions: tuple[str, ...]
    rows: tuple[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]], ...]


def inspect_data(config: TrainConfig, folder: Path) -> str:
    """Look at the data of ``config``, write ``inspect.png`` to ``folder``, return a report.

    Raises:
        DatasetError: pairs are missing or broken.
        ConfigError: the palette is unknown or malformed.
        OutputError: the sheet cannot be written.
    """
    check_writable_folder(folder)
    seen = look_at(config)
    path = folder / "inspect.png"
    write_picture(path, _sheet(seen))
    return f"{_report(seen)}\nsheet: {path}"


def look_at(config: TrainConfig) -> Inspection:
    """Read pairs of the data set that ``config`` describes and measure their inputs.

    Raises:
        DatasetError: pairs are missing or broken.
        ConfigError: the palette is unknown or malformed.
    """
    source = open_source(config)
    palette = source.palette
    contract = PixelContract(
        height=config.height,
        width=config.width,
        palette=palette,
        classes_present=find_classes_present(source.pairs.train, palette) if palette else None,
    )
    plain = PixelContract(height=config.height, width=config.width, palette=None)
    pairs = _spread([*source.pairs.train, *source.pairs.val], MOST_PAIRS)
    shown = {id(pair) for pair in _spread(pairs, SHEET_ROWS)}
    tally, rows, sizes = _Tally(palette), [], Counter[tuple[tuple[int, int], tuple[int, int]]]()
    for pair in pairs:
        image, target = read_pair(pair, palette)
        sizes[_size(image), _size(target)] += 1
        row = (
            contract.preprocess(image, repair_labels=False),
            contract.preprocess(image),
            plain.preprocess(target),
        )
        tally.add(*row)
        if id(pair) in shown:
            rows.append(row)
    return Inspection(
        source=source,
        pairs_read=len(pairs),
        sizes=sizes,
        exact=tally.mean("exact"),
        near=tally.mean("near"),
        target_near=tally.mean("target") or 0.0,
        class_shares=tuple((tally.counts / max(tally.counts.sum(), 1)).tolist()),
        suspicions=tuple(_suspicions(source, tally, sizes)),
        rows=tuple(rows),
    )


class _Tally:
    """Running sums over pairs."""

    def __init__(self, palette: Palette | None) -> None:
        self._palette = palette
        self._shares: dict[str, list[float]] = {"exact": [], "near": [], "target": []}
        self._target_presets: dict[str, list[float]] = {name: [] for name in PRESETS}
        self.counts = np.zeros(len(palette.classes) if palette else 0, np.int64)

    def add(
        self, image: NDArray[np.uint8], fitted: NDArray[np.uint8], target: NDArray[np.uint8]
    ) -> None:
        """Measure an input, fitted but not snapped, and as the generator reads it; and a target."""
        if self._palette is None:
            for name, preset in PRESETS.items():
                self._target_presets[name].append(preset.coverage(target))
            return
        self._shares["exact"].append(self._palette.coverage(image, levels=0))
        self._shares["near"].append(self._palette.coverage(image))
        self._shares["target"].append(self._palette.coverage(target))
        ids = self._palette.to_ids(fitted)
        self.counts += np.bincount(ids.ravel(), minlength=len(self.counts))

    def mean(self, what: str) -> float | None:
        """Return a mean share, or None if it was never measured."""
        if what == "target" and self._palette is None:
            return max(float(np.mean(shares)) for shares in self._target_presets.values())
        return float(np.mean(self._shares[what])) if self._shares[what] else None


def _suspicions(
    source: Source, tally: _Tally, sizes: Counter[tuple[tuple[int, int], tuple[int, int]]]
) -> list[str]:
    """Say what may be wrong, and which flag would put it right."""
    found = []
    near, target = tally.mean("near"), tally.mean("target") or 0.0
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
        names = zip(source.palette.classes, tally.counts, strict=True)
        never = [name for name, count in names if count < RARE_SHARE * tally.counts.sum()]
        if never:
            found.append(
                f"{len(never)} classes (nearly) never seen, so not learned: {', '.join(never)}"
            )
    if len(sizes) > 1:
        found.append(f"{len(sizes)} different image sizes; all are stretched to one")
    return found


def _swap_flags(source: Source) -> str:
    pairs = source.pairs
    if pairs.side_by_side:
        return f"try --input-side {pairs.train[0].target.part}"
    source_dir, target_dir = (
        ref.path.parent.name for ref in (pairs.train[0].input, pairs.train[0].target)
    )
    return f"try --input-dir {target_dir} --target-dir {source_dir}"


def _report(seen: Inspection) -> str:
    source, palette = seen.source, seen.source.palette
    facts = Table(show_header=False, box=None)
    facts.add_row("data", source.note)
    facts.add_row(
        "pairs", f"{len(source.pairs.train)} training, {len(source.pairs.val)} validation"
    )
    facts.add_row("read here", f"{seen.pairs_read} pairs, evenly spread")
    for ((width, height), (target_width, target_height)), count in seen.sizes.most_common(3):
        sizes = f"input {width}x{height}, target {target_width}x{target_height}"
        facts.add_row("size", f"{sizes} ({count} pairs)")
    if seen.exact is not None and seen.near is not None:
        near = f"{seen.exact:.1%} exact, {seen.near:.1%} within 31 levels; the fit repairs them"
        facts.add_row("colours", near)
    for suspicion in seen.suspicions or ("nothing",):
        facts.add_row("suspicious", suspicion)
    classes = Table("id", "class", "share of pixels", box=None)
    ranked = sorted(enumerate(seen.class_shares), key=lambda entry: -entry[1])
    for index, share in ranked if palette else ():
        classes.add_row(str(index), palette.classes[index] if palette else "", f"{share:.3%}")
    return _plain(facts) + (f"\n{_plain(classes)}" if palette else "")


def _plain(table: Table) -> str:
    """Render a table as text without colours, for terminals and files alike."""
    console = Console(file=io.StringIO(), width=110, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _sheet(seen: Inspection) -> NDArray[np.uint8]:
    inputs, fitted, targets = zip(*seen.rows, strict=True)
    palette = seen.source.palette
    if palette is None:
        return contact_sheet({"input": inputs, "target": targets}, ())
    legend = [
        LegendEntry(
            text=f"{palette.classes[index]}  {share:.2%}",
            colour_bgr=palette.colours_rgb[index][::-1],
        )
        for index, share in sorted(enumerate(seen.class_shares), key=lambda entry: -entry[1])
    ]
    return contact_sheet({"input": inputs, "repaired input": fitted, "target": targets}, legend)


def _spread(pairs: Sequence[Pair], count: int) -> list[Pair]:
    chosen = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return [pairs[index] for index in chosen]


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]
