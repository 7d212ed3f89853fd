"""The benchmark over shapes."""

from __future__ import annotations

from experiments.speed.shapes import measure_shapes, shapes_of
from p2p_train.config import TrainConfig


def test_fewer_halvings_and_capped_channels_cost_less() -> None:
    """Both save weights and bytes against the published shape; work they save less of."""
    shapes = {"as published": {}, "--downs 4": {"downs": 4}, "--max-width 8": {"max_width": 8}}
    configs = {name: TrainConfig(ngf=4, height=64, width=64, **s) for name, s in shapes.items()}
    full, halved, capped = measure_shapes(configs, frames=2, threads=1)
    for row in (halved, capped):
        assert row.parameters_m < 0.7 * full.parameters_m
        assert row.file_mb < full.file_mb
        assert row.parameters_m / full.parameters_m < row.gmac / full.gmac < 1
    assert full.median_ms > 0


def test_every_shape_fits_the_image() -> None:
    """All shapes that are compared are ones that can be trained."""
    for ngf in (8, 64):
        assert len({str(TrainConfig(ngf=ngf, **shape)) for shape in shapes_of(ngf).values()}) == 7
