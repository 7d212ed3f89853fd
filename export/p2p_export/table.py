"""What was exported, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parity import ParityReport
    from .targets.bundle import WrittenBundle

__all__ = ["table"]


def table(artefacts: list[WrittenBundle]) -> str:
    """Return a row for each bundle with its parity figures, then a line for each engine."""
    judged = any(artefact.report.fidelity for artefact in artefacts)
    rows = [
        ("file", "MB", "precision", "max", "mean", "within 1", "PSNR", "worst", "SSIM")
        + (("mean IoU",) if judged else ())
        + ("parity",)
    ]
    for artefact in artefacts:
        report = artefact.report
        rows.append(
            (
                str(artefact.path),
                f"{artefact.path.stat().st_size / 1e6:.1f}",
                report.precision,
                f"{report.max_levels}",
                f"{report.mean_levels:.4f}",
                f"{report.within_one:.3%}",
                f"{report.psnr_db:.1f} dB",
                f"{report.worst_psnr_db:.1f} dB",
                f"{report.ssim:.4f}",
                *((_mean_iou(report),) if judged else ()),
                f"passed on {report.frames} frames",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    engines = [engine for artefact in artefacts for engine in artefact.engines]
    lines += [f"{path}  {path.stat().st_size / 1e6:.1f} MB, built, not run" for path in engines]
    return "\n".join(lines)


def _mean_iou(report: ParityReport) -> str:
    """Return the judge's mean IoU in points and its change against the torch module."""
    if report.fidelity is None:
        return ""
    points = 100 * report.fidelity.mean_iou
    return f"{points:.2f} ({100 * report.fidelity_gained['mean_iou']:+.2f})"
