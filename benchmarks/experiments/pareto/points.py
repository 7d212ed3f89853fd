"""A run as a point in the chart, and which points are worth choosing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Point", "front"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One run in the chart.

    Attributes:
        name: the run's folder.
        ngf: width of the generator.
        distilled: whether it learned from a teacher.
        steps: how long it was trained.
        parameters_m, gmac: of the graph; millions, and 10^9 multiplications a frame.
        file_mb: size of the int8 file in 10^6 bytes.
        latency_ms: median, from host memory to host memory.
        pixel_accuracy, mean_iou: what the judge finds again in the int8 file's images, 0-1.
        ssim: of these images to the photos.
        frechet: their distance to real photos in the judge's features.
    """

    name: str
    ngf: int
    distilled: bool
    steps: int
    parameters_m: float
    gmac: float
    file_mb: float
    latency_ms: float
    pixel_accuracy: float
    mean_iou: float
    ssim: float
    frechet: float


def front(points: Iterable[Point], worth: str) -> list[Point]:
    """Return the points that no faster one equals in ``worth``, fastest first.

    Args:
        points: all runs.
        worth: name of an attribute, more is better.
    """
    chosen: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency_ms, -getattr(p, worth))):
        if not chosen or getattr(point, worth) > getattr(chosen[-1], worth):
            chosen.append(point)
    return chosen
