"""One vocabulary: words that were replaced by the field's own do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from guides import ROOT

SEARCHED = (
    *("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "Makefile", "pyproject.toml"),
    *("docs/**/*.md", "docs/*.py", "tests/**/*.py", "benchmarks/**/*.py"),
    *("runtime/**/*.py", "runtime/**/*.md", "train/**/*.py", "export/**/*.py", "ros2/**/*.py"),
)
SCENES = r"/(scenes|drives)/|test_scenes"
"""Drawn streets have lanes, and are drawn in planes."""


@dataclass(frozen=True)
class Rule:
    """A word that is gone.

    Attributes:
        old: the word, or a regular expression of its forms, in lower case.
        new: what is said instead.
        names: only as (part of) an identifier of Python; as English the word is fine.
        but: lines that match this use the word in another meaning.
        outside: paths that match this are not searched.
    """

    old: str
    new: str
    names: bool = False
    but: str = r"$^"
    outside: str = r"$^"

    def found_in(self, text: str) -> bool:
        """Tell whether ``text`` uses the word, also as a part of snake_case or CamelCase."""
        camel = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
        bounded = rf"(?<![a-z]){self.old}(?![a-z])"
        return re.search(bounded, camel.lower()) is not None and not re.search(self.but, text)


RULES = (
    Rule(r"lanes?", "workers", outside=SCENES),
    Rule(r"begun|settle[sd]?", "FrameTask, preprocess, finish"),
    Rule(r"planes", "YuvFrame", but=r"(luma|chroma|ground) planes|decoded\.planes", outside=SCENES),
    Rule(r"storage", "ColorSpec", but=r"untyped_storage|bf16_storage"),
    Rule(r"evidence|look_at", "likelihood, score", but=r"people_look_at"),
    Rule(r"sure", "confident", names=True),
    Rule(r"codes", "color LUT, lookup", names=True, but=r"(?i)exit_codes"),
    Rule(r"drift(s|ed|ing)?", "colorspace mismatch"),
    Rule(r"fitt(er|ed|ing)", "preprocessor, preprocessed"),
    Rule(
        r"fit|restore[sd]?",
        "preprocess, postprocess",
        names=True,
        but=r"not_fit",
        outside=r"(^|/)(train|export)/",  # where a state is restored
    ),
    Rule(r"vot(e|es|ed|er|ing)", "temporal filter"),
    Rule(r"snap(s|ped|ping)?", "repair labels"),
    Rule(r"--reuse", "--dedupe-threshold"),
    Rule(r"patience|--timeout", "--reconnect-for, --stall-timeout"),
    Rule(r"handover", "latest-frame slot"),
    Rule(r"claim(s|ed|ing)?", "output lock", outside=r"experiments"),  # figures
    Rule(r"guarded[_ ]?engine|stuck", "SupervisedEngine, on_hang"),
    Rule(r"(?<!allow_)spinning", "allow_spinning", names=True),
    Rule(r"plans?", "engine file, TensorRT engine", but=r"model\.plan"),
    Rule(r"wish(es|ed)?", "options"),
    Rule(r"team(s|mates?)?", "distributed, world_size"),
    Rule(r"players?", "ModelOptimizer", outside=r"^runtime/"),  # there, they play videos
    Rule(r"--reader|amiss|readers?_(?:net|loss|file)", "--segmenter, semantic loss"),
    Rule(
        r"readers?",
        "semantic loss",
        names=True,
        outside=r"(^|/)(export|runtime|ros2)/|recoding|dds_images",
    ),
    Rule(r"eyes", "feature network"),
    Rule(r"judg(e|es|ed|ing)", "segmenter, segmentation score"),
    Rule(r"even[_ -]ups?|even_out", "checkerboard-free"),
    Rule(
        r"(?<!num[_-])(downs|ups)",
        "encoder and decoder blocks",
        but=r"(start|catch|back|set|close)-?ups",
    ),
    Rule(r"halvings", "downsamplings"),
    Rule(r"(find|estimate)_used", "classes present"),
    Rule(r"likeness|lessons?|teaching", "image losses, distillation losses"),
    Rule(r"(un)?steadiness", "consistency"),
    Rule(r"drawing_of|class drawing", "GeneratorOutput"),
    Rule(r"chance", "rng", names=True),
    Rule(r"(freeze|estimate)[_-]norm|statistics_kept", "frozen_batchnorm"),
    Rule(r"--consistency|--distil-", "--lambda-consistency, --lambda-distil-..."),
    Rule(r"recipe[ =]seed|seed recipe", "classic"),
    Rule(r"foreign|publish_?bundle|artefact\.publish", "importers, write_bundle"),
    Rule(r"publish", "write_bundle", names=True, outside=r"ros2/|rclpy"),
    Rule(r"pixel_cells|pixel_rows|shuffle_layers?", "space-to-depth, rows, depth-to-space"),
    Rule(r"contenders?|births?", "backend process, start-up times"),
    Rule(r"turns?", "round", names=True, but=r"turn_pairs"),
    Rule(r"ceilings?", "roofline", outside=SCENES),
)


@cache
def files() -> tuple[Path, ...]:
    """Return what is searched; this table names every old word, the changelog may."""
    found = {path for pattern in SEARCHED for path in ROOT.glob(pattern)}
    return tuple(sorted(path for path in found if path != Path(__file__)))


@cache
def lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a file."""
    return tuple(path.read_text(encoding="utf-8").splitlines())


@cache
def names(path: Path) -> tuple[tuple[int, str], ...]:
    """Return the identifiers of a Python file, with their line numbers."""
    if path.suffix != ".py":
        return ()
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return tuple((token.start[0], token.string) for token in tokens if token.type == tokenize.NAME)


def places_of(rule: Rule) -> Iterator[str]:
    """Yield where the project still uses a word that is gone."""
    for path in files():
        shown = str(path.relative_to(ROOT))
        if re.search(rule.outside, shown):
            continue
        texts = names(path) if rule.names else tuple(enumerate(lines(path), 1))
        yield from (f"{shown}:{n}: {text.strip()}" for n, text in texts if rule.found_in(text))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.new.partition(",")[0])
def test_the_field_s_word_is_used(rule: Rule):
    """Code, tests, help texts and guides do not say the old word in its old meaning."""
    assert list(places_of(rule)) == [], f"say {rule.new}"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("workers, not lanes", "workers"),
        ("in_lanes(2)", "workers"),
        ("class LaneQueue:", "workers"),
        ("GuardedEngine", "SupervisedEngine, on_hang"),
        ("--vote 3", "temporal filter"),
        ("what it reads amiss", "--segmenter, semantic loss"),
        ("p2p-train judge", "segmenter, segmentation score"),
    ],
)
def test_the_table_notices(text: str, new: str):
    """Words are found alone, in snake_case, in CamelCase and as flags."""
    assert any(rule.found_in(text) for rule in RULES if rule.new == new)


@pytest.mark.parametrize("text", ["planet", "snapshot", "explanation", "replaned lanestone"])
def test_the_table_lets_other_words_pass(text: str):
    """A word within another word is none."""
    assert not any(rule.found_in(text) for rule in RULES)
