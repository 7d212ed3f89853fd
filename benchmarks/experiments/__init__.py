"""One-off studies, each of which writes its figures to ``results/``, and ``make demo``.

Not part of the wheel.
"""

from __future__ import annotations

import p2p_runtime  # noqa: F401  # switches onnxruntime's telemetry off before it is loaded here
