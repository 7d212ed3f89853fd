"""From JSON files to a page: which parts it has, and what is said between the tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.crosscheck import REPEATS
from p2p_bench.measure import ROUNDS, WARM_UP
from p2p_bench.report import BenchReport
from p2p_bench.run import COMPARED, TOO_SLOW_MS
from p2p_runtime.errors import ConfigError

from . import tables
from .page_text import ELSEWHERE, METHOD, REPEAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from p2p_bench.measure import Latency
    from p2p_bench.report import Row

__all__ = ["compose", "read_report"]

OURS = ("fp32", "fp16", "int8")
COMPILED = ("compile", "compile-bf16")


def compose(folder: Path) -> str:
    """Return the page of a folder of figures, as Markdown.

    Args:
        folder: ``published.json`` of ``p2p-bench`` and, as far as they are there, ``street.json``,
            ``scaling.json``, ``crosscheck.json``, ``pipeline.json`` and ``live.json``: what is not
            there is left out of the page.

    Raises:
        ConfigError: the first is missing, or one is of another version.
    """
    published = read_report(folder / "published.json")
    parts = [
        METHOD.format(rounds=ROUNDS, warm_up=WARM_UP, compared=COMPARED, slow=TOO_SLOW_MS / 1e3),
        "## The machine",
        tables.machine_table(published.machine, published.ceilings),
        *_comparison("The published width, random weights", "published", published),
        *_street(folder / "street.json"),
        *_scaling(folder / "scaling.json"),
        *_pipeline(folder / "pipeline.json"),
        *_live(folder / "live.json"),
        *_crosscheck(folder / "crosscheck.json"),
        REPEAT,
        ELSEWHERE,
    ]
    return "\n\n".join(parts) + "\n"


def read_report(path: Path) -> BenchReport:
    """Read what ``p2p-bench --json`` wrote.

    Raises:
        ConfigError: it is missing or of another version.
    """
    return BenchReport.from_json(_read(path))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _comparison(title: str, name: str, report: BenchReport) -> list[str]:
    timed = report.timed
    generator = report.generator
    work = "" if report.gmac is None else f", {report.gmac:.2f} GMAC a frame"
    parts = [
        f"## {title}",
        f"U-Net of width {generator.get('ngf', 'unknown')}, {report.height}x{report.width}, batch "
        f"{report.batch}{work}; {timed[0][1].frames} timed frames a backend, {report.inputs}, "
        f"{report.machine['threads']} threads, load {report.machine['load']} at the start "
        f"([figures](benchmarks/{name}.json)).",
        _verdict(report),
        f"![Latency](benchmarks/{name}-latency.png)",
        tables.latency_table(report),
        f"![Latency against agreement](benchmarks/{name}-quality.png)",
        tables.resources_table(report),
    ]
    if any(row.absent for row in report.rows):
        parts.append(tables.absent_table(report))
    return parts


def _verdict(report: BenchReport) -> str:
    """Say in a sentence what our fastest file is against eager, torch.compile and the rest."""
    best, fastest = _fastest(report, OURS)
    said = [f"`{best.name}` takes {fastest.median_ms:.1f} ms a frame: {fastest.speedup:.2f} times"]
    said.append("as fast as torch eager in fp32")
    rivals = [row.name for row, _ in report.timed if row.name not in OURS]
    if set(COMPILED) & set(rivals):
        compiled, latency = _fastest(report, COMPILED)
        ratio = latency.median_ms / fastest.median_ms
        said.append(f", {ratio:.2f} times as fast as torch.compile at its best (`{compiled.name}`)")
    if rivals:
        rival, latency = _fastest(report, rivals)
        ratio = latency.median_ms / fastest.median_ms
        said.append(f", {ratio:.2f} times as fast as the best of all the others (`{rival.name}`)")
    return (" ".join(said) + ".").replace(" ,", ",")


def _fastest(report: BenchReport, names: Any) -> tuple[Row, Latency]:
    rows = [pair for pair in report.timed if pair[0].name in names]
    if not rows:
        raise ConfigError(f"none of {', '.join(names)} was measured")
    return min(rows, key=lambda pair: pair[1].median_ms)


def _street(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return _comparison("The street model, trained weights", "street", read_report(path))


def _scaling(path: Path) -> list[str]:
    if not path.is_file():
        return []
    axes = _read(path)["axes"]
    loads = ", ".join(f"{axis} {measured['machine']['load']}" for axis, measured in axes.items())
    frames = next(iter(axes.values()))["frames"]
    return [
        "## How cost grows",
        "`python -m experiments.scaling`: milliseconds of a frame, and how much faster than torch "
        f"eager at the same point. {frames} timed calls a point; load at the start: {loads} "
        "([figures](benchmarks/scaling.json)).",
        "![How cost grows](benchmarks/scaling.png)",
        tables.scaling_tables(axes),
    ]


def _crosscheck(path: Path) -> list[str]:
    if not path.is_file():
        return []
    document = _read(path)
    return [
        "## Another clock",
        "`python -m experiments.crosscheck`: the same backends, timed by `/usr/bin/time` around "
        f"whole processes that only translate; {document['frames']} frames, the median of "
        f"{REPEATS} ([figures](benchmarks/crosscheck.json)).",
        tables.crosscheck_table(document["rows"]),
    ]


def _pipeline(path: Path) -> list[str]:
    if not path.is_file():
        return []
    document = _read(path)
    return [
        "## The whole of p2p-run",
        "`python -m p2p_bench.pipeline`: milliseconds that each stage of a frame takes, p50 / p95, "
        f"and the bare engine's median beside them; {document['rounds']} rounds on "
        f"{_cpu(document['machine'])} ([figures](benchmarks/pipeline.json)).",
        tables.pipeline_table(document["models"]),
        "All that `p2p-run` takes, against the engine on the same frames. *Alone* translates frame "
        "after frame on all threads, *in lanes* as many at a time as `p2p-run` does.",
        tables.overhead_table(document["models"]),
    ]


def _live(path: Path) -> list[str]:
    if not path.is_file():
        return []
    document = _read(path)
    return [
        "## A source that outruns the model",
        f"`python -m p2p_bench.live`: label frames piped into `p2p-run --drop latest`, "
        f"{document['speed']:g} times as fast as the engine, on {_cpu(document['machine'])}; "
        "latency is from a frame's arrival until it is written ([figures](benchmarks/live.json)).",
        tables.live_table(document["models"]),
    ]


def _cpu(machine: Mapping[str, Any]) -> str:
    """Return a machine's processor, what it can, and how many threads were used."""
    flags = ", ".join(machine["flags"])
    return f"{machine['cpu'].strip()} ({flags}), {machine['threads']} threads"
