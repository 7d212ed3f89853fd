"""A benchmark as a table and as JSON, always with the machine that it ran on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from p2p_runtime.errors import ConfigError
from p2p_runtime.files import write_text

from .measure import Latency

__all__ = ["BENCH_SCHEMA", "BenchReport", "Row"]

BENCH_SCHEMA = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One backend: what it took, or why it took no part.

    Attributes:
        name, what: the backend's, for commands and for readers.
        latency: None when it took no part.
        absent: why not; or None.
        size_mib: of the file that it runs.
        start_ms: from the start of a Python process until the model is loaded.
        first_ms: of the first frame.
        peak_rss_mib: most memory of its process, libraries included.
        psnr_db: of its images to the reference's; None for the reference, inf when all are equal.
        fidelity: pixel accuracy and mean IoU that a judge gave its images.
    """

    name: str
    what: str
    latency: Latency | None = None
    absent: str | None = None
    size_mib: float | None = None
    start_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mib: float | None = None
    psnr_db: float | None = None
    fidelity: dict[str, float] | None = None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Row:
        """Read what :meth:`BenchReport.to_json` wrote."""
        latency = document["latency"]
        values = {**document, "latency": None if latency is None else Latency(**latency)}
        if values["psnr_db"] == "inf":
            values["psnr_db"] = math.inf
        return cls(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """What was measured, and on what.

    Attributes:
        rows: one a backend; the first that took part is what the ratios refer to.
        height, width: the frames' size in pixels.
        batch: frames a call.
        inputs: where the frames come from.
        generator: what the model says of its architecture.
        gmac: multiply-accumulates of a frame, in thousands of millions; None for other networks.
        ceilings: GMAC/s of the machine's matrix products by type.
        machine: see :func:`.machine.describe_machine`.
    """

    rows: tuple[Row, ...]
    height: int
    width: int
    batch: int
    inputs: str
    generator: dict[str, Any]
    gmac: float | None
    ceilings: dict[str, float]
    machine: dict[str, Any]

    @property
    def timed(self) -> tuple[tuple[Row, Latency], ...]:
        """The rows that took part, with their latencies."""
        return tuple((row, row.latency) for row in self.rows if row.latency is not None)

    def gmac_per_s(self, latency: Latency) -> float | None:
        """Return what a backend achieves; None where the network's work is not known."""
        return None if self.gmac is None else self.gmac * self.batch * 1e3 / latency.median_ms

    def to_table(self) -> str:
        """Return the report as lines for people."""
        machine = self.machine
        (_, first), *_ = self.timed
        lines = [
            f"{self.width}x{self.height}, batch {self.batch}, {first.frames} frames a backend "
            f"({self.inputs}), host memory to host memory",
            f"{machine['cpu']}, {machine['threads']} threads, load {machine['load']} at the start",
            f"{'backend':<18}{'median ms':>11}{'p90':>8}{'p99':>8}{'frames/s':>10}{'ratio':>9}"
            f"{'CPU ms':>9}{'RSS MiB':>9}{'PSNR dB':>9}",
        ]
        lines += [self._line(row, latency) for row, latency in self.timed]
        lines += [f"{row.name:<18} not measured: {row.absent}" for row in self.rows if row.absent]
        return "\n".join(lines)

    def _line(self, row: Row, latency: Latency) -> str:
        rss = "" if row.peak_rss_mib is None else f"{row.peak_rss_mib:.0f}"
        psnr = "" if row.psnr_db is None else f"{row.psnr_db:.1f}"
        return (
            f"{row.name:<18}{latency.median_ms:>11.2f}{latency.p90_ms:>8.1f}{latency.p99_ms:>8.1f}"
            f"{latency.frames_per_s:>10.1f}{latency.speedup:>8.2f}x{latency.cpu_ms:>9.1f}"
            f"{rss:>9}{psnr:>9}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, rounded to what was measured; :meth:`from_json` reads them."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document["rows"] = [_rounded(asdict(row)) for row in self.rows]
        return {"schema": BENCH_SCHEMA, **document}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> BenchReport:
        """Read what :meth:`to_json` wrote.

        Raises:
            ConfigError: another version of the project wrote it.
        """
        if document.get("schema") != BENCH_SCHEMA:
            raise ConfigError(
                f"a benchmark of schema {document.get('schema')}; this version reads {BENCH_SCHEMA}"
            )
        values = {field.name: document[field.name] for field in fields(cls)}
        return cls(**{**values, "rows": tuple(map(Row.from_json, document["rows"]))})

    def save_json(self, path: Path) -> None:
        """Write the report as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(path, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")


def _rounded(value: Any) -> Any:
    """Round every number to a thousandth; an infinite PSNR becomes the word ``inf``."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else "inf"
    return value
