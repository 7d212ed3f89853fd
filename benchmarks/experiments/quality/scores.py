"""``python -m experiments.quality.scores``: what several runs score, in one table and one file.

Each run's latest checkpoint is scored as it ships, on the validation pairs of its data set and on a
clip, by the same judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, setup_logging

__all__ = ["main", "named_run", "table"]

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("L1", "l1", "{:.4f}"),
    ("SSIM", "ssim", "{:.3f}"),
    ("pixel accuracy", "segmentation.pixel_accuracy", "{:.3f}"),
    ("class accuracy", "segmentation.class_accuracy", "{:.3f}"),
    ("mean IoU", "segmentation.mean_iou", "{:.3f}"),
    ("Frechet", "frechet", "{:.2f}"),
    ("fixed pattern", "pattern", "{:.1f}"),
    ("flicker", "flicker", "{:.2f}"),
)
REAL: dict[str, str] = {
    "pixel accuracy": "segmentation_real.pixel_accuracy",
    "class accuracy": "segmentation_real.class_accuracy",
    "mean IoU": "segmentation_real.mean_iou",
    "Frechet": "frechet_real",
    "fixed pattern": "pattern_real",
    "flicker": "flicker_real",
}


def table(scores: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a row for each run and one for real photos.

    Args:
        scores: by name, what ``p2p-train score --json`` wrote; what was not measured stays empty.
    """
    titles = [title for title, _, _ in COLUMNS]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, figures in scores.items():
        cells = [_cell(figures, path, form) for _, path, form in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    reference = next(iter(scores.values()))
    cells = [_cell(reference, REAL[t], form) if t in REAL else "" for t, _, form in COLUMNS]
    lines.append(f"| *real photos* | {' | '.join(cells)} |")
    return "\n".join(lines)


def named_run(words: str) -> tuple[str, Path]:
    """Split ``TITLE=RUN`` into the title and the run's latest checkpoint.

    Raises:
        click.UsageError: it is not of that form.
    """
    title, equals, run = words.partition("=")
    if not equals:
        raise click.UsageError(f"{words!r} is not of the form TITLE=RUN")
    return title, Path(run) / "checkpoints" / "last.pt"


def _cell(figures: dict[str, Any], path: str, form: str) -> str:
    value: Any = figures
    for key in path.split("."):
        value = None if value is None else value.get(key)
    return "" if value is None else form.format(value)


@click.command(cls=P2PCommand)
@click.argument("runs", metavar="TITLE=RUN...", nargs=-1, required=True)
@click.option("--judge", metavar="FILE.pt", type=click.Path(path_type=Path), required=True)
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), default=None)
@click.option("--clip", metavar="DIR|VIDEO", default=None, help="Label maps, for flicker.")
@click.option("--clip-photos", metavar="DIR|VIDEO", default=None)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path), default=None)
def main(
    runs: tuple[str, ...],
    judge: Path,
    data: Path | None,
    clip: str | None,
    clip_photos: str | None,
    output: Path | None,
) -> None:
    """Score each run by one judge; Markdown on stdout."""
    setup_logging()
    import torch

    from p2p_runtime.files import write_json
    from p2p_train.metrics.clips import clip_frames
    from p2p_train.metrics.score import (
        score_generator,
        torch_translate,
        validation_pairs,
    )
    from p2p_train.segmentation import Segmenter
    from p2p_train.training.checkpoint import Checkpoint

    device = torch.device("cpu")
    referee = Segmenter.load(judge, device)
    scores: dict[str, dict[str, Any]] = {}
    for title, path in map(named_run, runs):
        checkpoint = Checkpoint.load(path)
        found = score_generator(
            torch_translate(checkpoint.build_generator(), device),
            validation_pairs(checkpoint.config, checkpoint.contract, data),
            segmenter=referee,
            clip=clip_frames(clip, checkpoint.contract, clip_photos) if clip else None,
        )
        scores[title] = {"step": checkpoint.progress["step"], **found.to_json()}
    click.echo(table(scores))
    if output is not None:
        write_json(output, {"scores": scores})


if __name__ == "__main__":
    main()
