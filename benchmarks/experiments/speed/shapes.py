"""``python -m experiments.speed.shapes``: count what fewer blocks save.

The weights are random: these are sizes, not scores.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from experiments.harness import Document, study

__all__ = ["main", "measure_shape", "shapes", "table"]

NGF = 16
SIDE_PX = 256
SMOKE_NGF, SMOKE_SIDE_PX = 2, 64


def shapes() -> dict[str, dict[str, Any]]:
    """Return generator settings by the flags of ``p2p-train`` that set them."""
    found: dict[str, dict[str, Any]] = {"8 downsamplings": {}}
    return found | {f"--num-downs {number}": {"num_downs": number} for number in (7, 6, 5)}


def measure_shape(ngf: int, side_px: int, shape: dict[str, Any]) -> dict[str, float]:
    """Return weights in 10^6, GMAC per frame and the size of the int8 file in MB.

    Args:
        ngf: width of the generator.
        side_px: height and width of its frames.
        shape: further settings.
    """
    from experiments.random_models import write_random_int8
    from p2p_bench.run import gmac_of
    from p2p_train.config import TrainConfig
    from p2p_train.training.checkpoint import make_generator

    config = TrainConfig.of(ngf=ngf, image_size=(side_px, side_px), **shape)
    with tempfile.TemporaryDirectory() as scratch:
        files = write_random_int8(Path(scratch) / "model-int8.onnx", config)
        size_bytes = files.bundles["int8"].stat().st_size
    weights = sum(weight.numel() for weight in make_generator(config).parameters())
    return {
        "parameters_m": weights / 1e6,
        "gmac": gmac_of(files) or 0.0,
        "file_mb": size_bytes / 1e6,
    }


def table(document: Document) -> str:
    """Return a row per shape."""
    from experiments.harness import markdown_table

    rows = [
        [name, f"{row['parameters_m']:.2f} M", f"{row['gmac']:.2f}", f"{row['file_mb']:.1f} MB"]
        for name, row in document["rows"].items()
    ]
    titles = [f"width {document['ngf']}", "weights", "GMAC per frame", "int8 file"]
    return markdown_table(titles, rows)


@study("shapes", table=table)
def main(*, smoke: bool) -> Document:
    """Count weights, multiplications and bytes of generators of several shapes, 256x256."""
    ngf, side_px = (SMOKE_NGF, SMOKE_SIDE_PX) if smoke else (NGF, SIDE_PX)
    chosen = list(shapes().items())[-1 if smoke else 0 :]
    rows = {name: measure_shape(ngf, side_px, shape) for name, shape in chosen}
    return {"ngf": ngf, "side_px": side_px, "rows": rows}


if __name__ == "__main__":
    main()
