"""OpenVINO, Intel's runtime, on the same ONNX files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.engines import UninterruptibleEngine
from p2p_runtime.errors import DeviceUnavailableError, EngineError

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine(UninterruptibleEngine):
    """A bundle in OpenVINO's CPU plugin, tuned for the latency of one request.

    Layers that are not integer compute in ``f32`` or ``bf16``. If OpenVINO chose another device or
    type, a DeviceUnavailableError is raised.
    """

    device = "cpu"

    def __init__(self, path: Path, threads: int, computes: str) -> None:
        # `import openvino` sends an event over the network; where its telemetry package cannot be
        # imported, it uses a stub.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # blocks the import
        import openvino

        wanted = {
            "INFERENCE_PRECISION_HINT": computes,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(str(path), "CPU", wanted)
        _check("the device", compiled.get_property("EXECUTION_DEVICES"), ["CPU"])
        got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        _check("the precision", got, computes)
        self._request: Any = compiled.create_infer_request()

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR into the same shape and type."""
        if self._request is None:
            raise EngineError("the engine is closed")
        results = self._request.infer({0: frames}, share_inputs=True)
        images: NDArray[np.uint8] = results[0]
        return images

    def close(self) -> None:
        """Free the model."""
        self._request = None


def _check(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise DeviceUnavailableError(f"asked OpenVINO for {wanted} as {what}, but got {got}")
