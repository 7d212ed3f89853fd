"""Content of the inputs: palette colours, class ids or pictures; set by flags, or detected."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from p2p_runtime.errors import ConfigError, ContractError, DatasetError
from p2p_runtime.labels.ids import IGNORED, NUMBERINGS, ClassIds, IdLayout, choices, load_ids
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES, PRESETS, Palette, load_palette
from p2p_train.config import DataConfig

from .decode import ID_MODES, measure_levels, read_ids, read_image
from .layouts.images import ImageRef, Pair, is_16_bit, left_out, listed, open_image
from .layouts.index import PairIndex, evenly_spread, find_pairs
from .palette_fit import fit_palette

__all__ = ["PALETTE_SHARE", "PairSource", "choose_palette", "open_pairs"]

logger = logging.getLogger(__name__)

PALETTE_SHARE = 0.9
"""Minimum share of the pixels near a palette's colours, for inputs that are label maps of it."""

SAMPLES = 16
"""Number of inputs that are read to detect what they hold."""

MAX_IDS = 64
"""Upper bound of class ids: single-channel inputs with only lower levels are taken for ids."""

MAX_MEASURED = 1000
"""Maximum number of 16-bit pictures in which the range is measured."""

MANY_FILES = 500
"""Number of files whose check takes long enough to be logged."""

CHOICES = f"{', '.join(PRESETS)} or FILE.json"
Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSource:
    """A data set and how to read its inputs, and a sentence on what was found, and how.

    Inputs that hold class ids are marked. There is no palette if they are no label maps.
    """

    pairs: PairIndex
    palette: Palette | None
    note: str

    def check_palette(self) -> None:
        """Make sure that the palette, if the user named one, does not erase the inputs.

        Raises:
            DatasetError: the inputs are no label maps in its colours.
        """
        first = self.pairs.train[0].input
        if self.palette is None or first.ids:
            return
        inputs = (read_image(pair.input) for pair in _sample(self.pairs.train))
        if why := fit_palette(self.palette, inputs).refused:
            raise DatasetError(
                f"the inputs ({first.path} ...) are no label maps in the colours of palette "
                f"{self.palette.name!r}: {why}; are input and target swapped, is it another "
                "--palette, or are they pictures (--palette none)?"
            )


def open_pairs(config: DataConfig) -> PairSource:
    """Find the pairs that ``config`` describes and decide how to read their inputs.

    Raises:
        DatasetError: pairs are missing or broken, or more than one reading is possible; then the
            message names the flag that decides.
        ConfigError: the palette is unknown or malformed, or does not go with ``--labels``.
    """
    if config.label_dir is None:
        return _open_inputs(config)
    # Inputs are pictures then, so what says how to read label maps is about those beside them.
    palette = "auto" if config.palette == "none" else config.palette
    maps = _open_inputs(replace(config, input_dir=config.label_dir, palette=palette))
    if maps.palette is None:
        raise DatasetError(f"--label-dir {config.label_dir} holds no label maps: {maps.note}")
    maps.check_palette()
    source = _open_inputs(replace(config, palette="none", ids=None, labels="auto"))
    return _with_labels(source, maps, Path(config.folder))


def _with_labels(source: PairSource, maps: PairSource, folder: Path) -> PairSource:
    """Put the label maps of the same targets beside pictures."""
    found = {pair.target.path: pair.input for pair in (*maps.pairs.train, *maps.pairs.val)}
    train, val = (
        tuple(
            replace(pair, label=found.get(pair.target.path), label_palette=maps.palette)
            for pair in part
        )
        for part in (source.pairs.train, source.pairs.val)
    )
    if lonely := [str(pair.input.path) for pair in (*train, *val) if pair.label is None]:
        raise DatasetError(f"these have no label map: {listed(lonely, 'pictures')}")
    refs = (ref for pair in (*train, *val) for ref in (pair.input, pair.target, pair.label))
    rest = left_out(folder, {ref.path for ref in refs if ref is not None})
    both = source.pairs.fingerprint + maps.pairs.fingerprint
    pairs = replace(
        source.pairs,
        train=train,
        val=val,
        fingerprint=hashlib.sha256(both.encode()).hexdigest(),
        left_out=rest,
    )
    return replace(source, pairs=pairs, note=f"{source.note}; beside them, {maps.note}")


def _open_inputs(config: DataConfig) -> PairSource:
    pairs = find_pairs(config)
    if _are_ids(config, pairs):
        palette, ids, how = _numbering(config, pairs)
        pairs = _with_levels(pairs, "target").with_refs("input", ids=ids)
        _check_ids([*pairs.train, *pairs.val], ids, palette)
        note = f"class ids, numbering {ids.name}{how}: {ids.summary()}, palette {palette.name}"
        return PairSource(pairs=pairs, palette=palette, note=f"{pairs.layout}; {note}")
    pairs = _with_levels(pairs, "input", "target")
    chosen, note = _own_palette(config, pairs) or choose_palette(config, pairs.train)
    return PairSource(pairs=pairs, palette=chosen, note=f"{pairs.layout}; {note}")


def choose_palette(config: DataConfig, pairs: tuple[Pair, ...]) -> tuple[Palette | None, str]:
    """Return the palette of coloured inputs, and a sentence on how it was found.

    ``auto`` takes the preset that fits some inputs beyond doubt, see :mod:`.palette_fit`. If there
    is none, the inputs are pictures rather than label maps.

    Raises:
        ConfigError: a palette file is malformed.
        DatasetError: an input is unreadable.
    """
    if config.palette == "none":
        return None, "inputs are pictures, not label maps (--palette none)"
    if config.palette != "auto":
        palette = load_palette(config.palette)
        return palette, f"colours of palette {palette.name}, {len(palette.classes)} classes"
    inputs = [read_image(pair.input) for pair in _sample(pairs)]
    fits = {name: fit_palette(palette, inputs) for name, palette in PRESETS.items()}
    best = max(fits, key=lambda name: fits[name].near)
    near = f"{fits[best].near:.1%}"
    if fits[best].recognised:
        return PRESETS[best], (
            f"palette {best} recognised: {near} of the pixels of {len(inputs)} inputs that are "
            "not black lie near its colours"
        )
    why = "they are grey" if fits[best].grey else f"best: {best} with {near}"
    return None, (
        f"no known palette fits the inputs ({why}), so they are taken as pictures and no labels "
        "are repaired; choose with --palette"
    )


def _with_levels(pairs: PairIndex, *sides: Literal["input", "target"]) -> PairIndex:
    """Measure the range of 16-bit pictures over the data set; all get the same two levels."""
    for side in sides:
        files = [getattr(pair, side).path for pair in (*pairs.train, *pairs.val)]
        files = [files[index] for index in evenly_spread(len(files), MAX_MEASURED)]
        if not any(_is_16_bit(file) for file in files[:SAMPLES]):
            continue
        levels = measure_levels(files)
        logger.info("the %ss have 16 bits: %d becomes black, %d white", side, *levels)
        pairs = pairs.with_refs(side, levels=levels)
    return pairs


def _is_16_bit(file: Path) -> bool:
    with open_image(file) as image:
        return is_16_bit(image)


def _are_ids(config: DataConfig, pairs: PairIndex) -> bool:
    """Return whether inputs are class ids, whose numbering the user has to name."""
    if config.ids is not None or config.labels == "ids":
        if config.labels == "colour" or config.palette == "none":
            raise ConfigError("class ids need a palette and no --labels colour")
        return True
    if config.labels == "colour" or config.palette == "none":
        return False
    refs = [pair.input for pair in _sample(pairs.train)]
    modes = {_mode(ref.path) for ref in refs}
    if pairs.side_by_side or not modes <= ID_MODES:
        return _look_like_ids(refs, lowest=1)
    if config.palette == "auto":
        return modes != {"P"} and _look_like_ids(refs)
    colours = load_palette(config.palette).colours_rgb
    own = {colour for ref in refs if modes == {"P"} for colour in _entries(ref.path).values()}
    return modes != {"P"} or not own <= set(colours)


def _look_like_ids(refs: Sequence[ImageRef], lowest: int = 0) -> bool:
    """Tell whether all pictures have one channel with few levels, beside those for no class."""
    highest = 0
    for ref in refs:
        try:
            levels = read_ids(ref)
        except DatasetError:  # a JPEG, or colours
            return False
        highest = max(highest, int(levels[~np.isin(levels, IGNORED)].max(initial=0)))
    return max(1, lowest) <= highest < MAX_IDS


def _numbering(config: DataConfig, pairs: PairIndex) -> tuple[Palette, ClassIds, str]:
    """Return palette and numbering of class ids, and how it was found if nobody named it."""
    if config.palette != "auto":
        palette = load_palette(config.palette)
    elif config.ids is not None and config.ids not in NUMBERINGS:
        load_ids(config.ids, CITYSCAPES)  # an unknown name is told first
        raise ConfigError(f"class ids need a palette: --palette {CHOICES}")
    else:
        palette = CAMVID if config.ids == CAMVID.name else CITYSCAPES
    layout, refs = IdLayout(), [pair.input for pair in _sample(pairs.train)]
    for ref in refs:
        layout.add(read_ids(ref))
    found = layout.best(palette)
    if config.ids is not None:
        ids = load_ids(config.ids, palette)
        if found and {*found.classes} - {*ids.classes} and {*ids.classes} - {*found.classes}:
            logger.warning("the ids stand where those of --ids %s would, rather", found.name)
        return palette, ids, ""
    if found is None:
        raise DatasetError(
            f"the inputs ({refs[0].path} ...) look like class ids, and only you know what they "
            f"mean: {choices()}; or --labels colour if they are colours, --palette none if pictures"
        )
    if config.palette == "auto" and found.name == CAMVID.name:
        palette = CAMVID
    return palette, found, " (recognised by what stands where; --ids chooses another)"


def _check_ids(pairs: Sequence[Pair], ids: ClassIds, palette: Palette) -> None:
    """Read every label map once and make sure that each id has a class."""
    if len(pairs) > MANY_FILES:
        logger.info("checking the class ids of %d files", len(pairs))
    problems = []
    for pair in pairs:
        try:
            ids.to_classes(read_ids(pair.input), palette)
        except ContractError as error:
            problems.append(f"{pair.input.path}: {error}")
    if problems:
        raise DatasetError(
            f"{len(problems)} of {len(pairs)} label maps do not fit: {listed(problems, 'files')}"
        )


def _own_palette(config: DataConfig, pairs: PairIndex) -> tuple[Palette, str] | None:
    """Return the palette inside palette PNGs, unless it is a preset's or a picture's."""
    if config.palette != "auto" or pairs.side_by_side:
        return None
    files = [pair.input.path for pair in (*pairs.train, *pairs.val)]
    if not all(_mode(file) == "P" for file in files):
        return None
    entries: dict[int, Colour] = {}
    for file in files:
        for index, colour in _entries(file).items():
            if entries.setdefault(index, colour) != colour:
                raise DatasetError(
                    f"{file} has another colour for id {index} than {files[0].parent} before it; "
                    f"name a palette: --palette {CHOICES}"
                )
        if len(entries) > MAX_IDS:  # a photo with few colours, not a label map
            return None
    colours = tuple(entries[index] for index in sorted(entries))
    if all(len(set(colour)) == 1 for colour in colours):  # grey: a drawing, for example
        return None
    if any(set(colours) <= set(preset.colours_rgb) for preset in PRESETS.values()):
        return None
    if len(set(colours)) < len(colours):
        raise DatasetError(
            f"the palette PNGs in {files[0].parent} give two ids the same colour; "
            f"name a palette: --palette {CHOICES}"
        )
    classes = tuple(f"class {index}" for index in sorted(entries))
    palette = Palette(name="own", classes=classes, colours_rgb=colours)
    return palette, f"colours inside the palette PNGs, {len(classes)} classes"


def _entries(file: Path) -> dict[int, Colour]:
    """Return the colour (red, green, blue) of each index that occurs in a palette PNG."""
    ids = np.unique(read_ids(ImageRef(path=file)))
    with open_image(file) as image:
        levels = image.getpalette("RGB") or []
    table = [*levels, *[0] * (768 - len(levels))]
    return {int(i): (table[3 * i], table[3 * i + 1], table[3 * i + 2]) for i in ids}


def _sample(pairs: tuple[Pair, ...]) -> list[Pair]:
    return [pairs[index] for index in evenly_spread(len(pairs), SAMPLES)]


def _mode(file: Path) -> str:
    with open_image(file) as image:
        return image.mode
