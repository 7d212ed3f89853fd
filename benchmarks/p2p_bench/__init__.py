"""The measure: the same frames through every backend, at the same boundary.

This file imports nothing heavy, so that ``p2p-bench --help`` stays instant.
"""

import p2p_runtime  # noqa: F401  # switches onnxruntime's telemetry off before it is loaded here
