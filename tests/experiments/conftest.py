"""The fixtures of the experiments's tests."""

from __future__ import annotations

from toy_report import report  # noqa: F401
from toy_runtime import (  # noqa: F401
    bundle,
    contract,
    frames,
    make_bundle,
    model,
    video,
    wrong_golden,
)
