"""``python -m experiments.page docs/benchmarks``: write the page and draw its charts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from p2p_runtime.console import P2PCommand, setup_logging


@click.command(cls=P2PCommand)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write FOLDER.md and the charts in FOLDER from the JSON files in it."""
    setup_logging()
    from p2p_bench.charts import latency_chart, quality_chart, scaling_chart
    from p2p_runtime.files import write_text

    from .compose import compose, read_report

    text = compose(folder)
    for name in ("published", "street"):
        if (figures := folder / f"{name}.json").is_file():
            report = read_report(figures)
            latency_chart(report, folder / f"{name}-latency.png")
            quality_chart(report, folder / f"{name}-quality.png")
    if (figures := folder / "scaling.json").is_file():
        axes = json.loads(figures.read_text(encoding="utf-8"))["axes"]
        scaling_chart(axes, folder / "scaling.png")
    write_text(folder.with_suffix(".md"), text)
    click.echo(folder.with_suffix(".md"))


if __name__ == "__main__":
    main()
