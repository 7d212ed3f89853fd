"""The device: translate label frames with an exported pix2pix bundle, without torch.

The ground floor of the project. It defines the pixel contract that training and export conform
to. Start at :class:`p2p_runtime.translate.translator.Translator`.

This file imports nothing heavy, so that ``p2p-run --help`` stays instant.
"""

import os

__version__ = "0.1.0"

# onnxruntime sends telemetry unless this is set before its import, and every import of ours
# passes here first. `disable_telemetry_events()` after the import does not stop it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
