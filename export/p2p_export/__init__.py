"""The bridge: turn a trained generator into model bundles, and prove that they compute the same."""

import p2p_runtime  # noqa: F401  # switches onnxruntime's telemetry off before it is loaded here
