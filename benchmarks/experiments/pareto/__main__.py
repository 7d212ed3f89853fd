"""``python -m experiments.pareto``: flags in, a table and a chart out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from p2p_runtime.console import P2PCommand, setup_logging

__all__ = ["main"]


@click.command(cls=P2PCommand)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--judge", "judge_file", metavar="FILE.pt", required=True, help="p2p-train judge.")
@click.option("--data", metavar="DIR", type=click.Path(path_type=Path), default=Path("data"))
@click.option("--which", type=click.Choice(["last", "best"]), default="last", show_default=True)
@click.option("--frames", metavar="N", type=click.IntRange(5), default=60, show_default=True)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=2, show_default=True)
@click.option("--json", "output", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path))
@click.option("--markdown", metavar="FILE.md", type=click.Path(path_type=Path))
def main(
    runs: tuple[Path, ...],
    judge_file: str,
    data: Path,
    which: str,
    frames: int,
    threads: int,
    output: Path | None,
    plot: Path | None,
    markdown: Path | None,
) -> None:
    """Export, score and time the runs that are there; print a table.

    A run without a checkpoint is left out, and said so. RUN/pareto/ keeps the int8 file and its
    scores, so that a second call only times.
    """
    setup_logging()
    import torch

    from p2p_bench.machine import describe_machine
    from p2p_runtime.files import write_bytes, write_json, write_text
    from p2p_train.segmentation import Segmenter

    from .report import draw_chart, table
    from .runs import find_checkpoints, measure_runs

    machine = describe_machine(threads)
    judge = Segmenter.load(Path(judge_file), torch.device("cpu"))
    checkpoints = find_checkpoints(runs, which)
    points, photos = measure_runs(checkpoints, judge, data, frames=frames, threads=threads)
    text = table(points, photos)
    click.echo(text)
    if output is not None:
        document = {
            "machine": machine,
            "frames": frames,
            "real_photos": photos,
            "runs": [asdict(point) for point in points],
        }
        write_json(output, document)
    if plot is not None:
        words = f"{machine['cpu']}, {threads} threads, batch 1"
        write_bytes(plot, draw_chart(points, photos, words))
    if markdown is not None:
        write_text(markdown, text + "\n")


if __name__ == "__main__":
    main()
