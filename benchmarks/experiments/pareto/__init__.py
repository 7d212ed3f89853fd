"""What a generator's pictures are worth, against what they cost.

Each run's checkpoint is exported to int8 once, and that file is both scored and timed: fidelity and
latency are those of one model. The models take turns while they are timed.
"""

from __future__ import annotations

from .points import Point, front
from .report import draw_chart, table

__all__ = ["Point", "draw_chart", "front", "table"]
