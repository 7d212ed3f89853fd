"""Markdown tables of measured figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2p_bench.measure import Latency
    from p2p_bench.report import BenchReport, Row

__all__ = [
    "absent_table",
    "crosscheck_table",
    "latency_table",
    "live_table",
    "machine_table",
    "overhead_table",
    "pipeline_table",
    "resources_table",
    "scaling_tables",
]


def latency_table(report: BenchReport) -> str:
    """Return latencies, ratios and agreement, the fastest first."""
    judged = any(row.fidelity for row in report.rows)
    titles = ["", "backend", "median", "p90", "p99", "frames/s", "against eager"]
    titles += ["rounds", "PSNR to eager", *(["label accuracy", "label mIoU"] if judged else [])]
    timed = sorted(report.timed, key=lambda pair: pair[1].median_ms)
    return _table(titles, [_latency_cells(row, latency, judged) for row, latency in timed])


def _latency_cells(row: Row, latency: Latency, judged: bool) -> list[str]:
    psnr = "" if row.psnr_db is None else _decibels(row.psnr_db)
    fidelity = row.fidelity or {}
    scores = [f"{fidelity[key]:.3f}" for key in ("pixel_accuracy", "mean_iou") if key in fidelity]
    return [
        f"`{row.name}`",
        row.what,
        f"{latency.median_ms:.1f} ms",
        f"{latency.p90_ms:.1f}",
        f"{latency.p99_ms:.1f}",
        f"{latency.frames_per_s:.1f}",
        f"{latency.speedup:.2f}x",
        f"{latency.slowest_round:.2f}-{latency.fastest_round:.2f}",
        psnr,
        *(scores if judged else []),
    ]


def resources_table(report: BenchReport) -> str:
    """Return what each backend takes beside time, and what it makes of the machine."""
    ceiling = report.ceilings.get("fp32")
    rows = []
    for row, latency in report.timed:
        achieved = report.gmac_per_s(latency)
        share = achieved / ceiling if achieved and ceiling else None
        rows.append(
            [
                f"`{row.name}`",
                _number(row.size_mib, "{:.1f} MiB"),
                _number(row.peak_rss_mib, "{:.0f} MiB"),
                f"{latency.cpu_ms:.1f} ms",
                _number(row.start_ms and row.start_ms / 1e3, "{:.2f} s"),
                _number(row.first_ms, "{:.0f} ms"),
                _number(achieved, "{:.0f}"),
                _number(share, "{:.2f}"),
            ]
        )
    titles = ["", "file", "peak memory", "CPU time a frame", "until loaded", "first frame"]
    return _table([*titles, "GMAC/s", "of the fp32 ceiling"], rows)


def absent_table(report: BenchReport) -> str:
    """Return what was not measured, and why."""
    absent = [[f"`{row.name}`", row.what, row.absent] for row in report.rows if row.absent]
    return _table(["", "backend", "why it is not measured here"], absent)


def machine_table(machine: Mapping[str, Any], ceilings: Mapping[str, float]) -> str:
    """Return the facts of a machine."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    products = ", ".join(f"{value:.0f} GMAC/s in {kind}" for kind, value in ceilings.items())
    return _table(
        ["", ""],
        [
            [
                "CPU",
                f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads used",
            ],
            ["of its flags", ", ".join(machine["flags"])],
            ["matrix product 1024x1024x1024", products],
            ["governor", machine["governor"]],
            ["load at the start", f"{machine['load']}"],
            ["system", f"{machine['system']}, Python {machine['python']}"],
            ["versions", versions],
            ["commit", machine["commit"] or "unknown"],
        ],
    )


def scaling_tables(axes: Mapping[str, Any]) -> str:
    """Return a table an axis: milliseconds a frame, and how much faster than the first column."""
    parts = []
    for axis, measured in axes.items():
        points = measured["points"]
        names = list(points[0]["median_ms"])
        rows = [
            [_place(axis, point), _number(point["gmac"], "{:.2f}"), *_scaled(point, names)]
            for point in points
        ]
        parts.append(_table([axis, "GMAC a frame", *(f"`{name}`" for name in names)], rows))
    return "\n\n".join(parts)


def _place(axis: str, point: Mapping[str, Any]) -> str:
    return f"{point['height']}x{point['width']}" if axis == "size" else str(point[axis])


def _scaled(point: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    medians = point["median_ms"]
    return [f"{medians[name]:.1f} ms, {medians[names[0]] / medians[name]:.2f}x" for name in names]


def crosscheck_table(rows: Mapping[str, Any]) -> str:
    """Return what the benchmark and whole processes say of the same backends."""
    return _table(
        ["", "p2p-bench, median", "whole processes", "difference"],
        [
            [
                f"`{name}`",
                f"{row['bench_ms']:.2f} ms",
                f"{row['whole_process_ms']:.2f} ms",
                f"{row['difference']:+.1%}",
            ]
            for name, row in rows.items()
        ],
    )


def pipeline_table(models: Sequence[Mapping[str, Any]]) -> str:
    """Return p50 and p95 of each stage of `p2p-run`, the bare engine beside them."""
    rows = [
        [
            model["model"],
            sink,
            f"{model['engine_ms']:.1f}",
            *(f"{stage['p50_ms']:.1f} / {stage['p95_ms']:.1f}" for stage in stages.values()),
        ]
        for model in models
        for sink, stages in model["stages"].items()
    ]
    names = next(iter(models[0]["stages"].values())) if models else []
    return _table(["model", "into", "engine alone", *names], rows)


def overhead_table(models: Iterable[Mapping[str, Any]]) -> str:
    """Return what the whole of `p2p-run` takes against the engine, a row a model and sink."""
    titles = ["model", "into", "a frame", "engine alone / whole", "engine in lanes / whole"]
    return _table(
        [*titles, "CPU time outside the engine", "of the latency, stages leave out"],
        [
            [
                model["model"],
                sink,
                f"{model['run_ms'][sink]:.2f} ms",
                f"{model['share'][sink]:.2f}",
                f"{model['share_lanes'][sink]:.2f}",
                f"{model['outside_cpu_ms'][sink]:.2f} ms" if model["outside_cpu_ms"] else "-",
                f"{model['unaccounted'][sink]:.1%}",
            ]
            for model in models
            for sink in model["run_ms"]
        ],
    )


def live_table(models: Mapping[str, Any]) -> str:
    """Return what became of a source that is faster than each model."""
    return _table(
        [
            "model, frames",
            "engine",
            "offered",
            "dropped",
            "written",
            "unaccounted for",
            "p50",
            "p95",
        ],
        [
            [
                name,
                f"{row['engine_ms']:.1f} ms",
                f"{row['sent']} at {row['sent_fps']:.0f} a second",
                row["dropped"],
                row["written"],
                row["unaccounted"],
                f"{row['p50_ms']:.1f} ms",
                f"{row['p95_ms']:.1f} ms, {row['p95_in_engine_frames']:.2f} engine frames",
            ]
            for name, row in models.items()
        ],
    )


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _decibels(value: float) -> str:
    return "equal" if math.isinf(value) else f"{value:.1f} dB"
